"""`tsfm batch`: the numbers of /v1/forecast, tables in and out, and a job that was interrupted goes on."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from checkpoints import chronos
from conftest import Live
from fleet.jobs import long_table, tsfm
from fleet.lab import until

from tsfm import families
from tsfm.numerics import scaling
from tsfm.series import Runtime, Series

pytestmark = pytest.mark.long


def test_the_numbers_are_those_of_the_service(tmp_path):
    table = long_table(40, 64)
    table.to_parquet(tmp_path / "in.parquet")
    done = tsfm(
        "batch",
        tmp_path / "in.parquet",
        tmp_path / "out.parquet",
        "--family",
        "fracast",
        "--horizon",
        5,
        "--processes",
        1,
    )
    assert done.returncode == 0, done.stderr
    assert "40 series, 0 without a forecast" in done.stderr
    assert "100% of the rows" in done.stderr
    assert not (tmp_path / "out.parquet.parts").exists()
    made = pd.read_parquet(tmp_path / "out.parquet")
    assert made.columns.tolist() == ["item_id", "timestamp", "mean", "0.1", "0.5", "0.9"]
    with Live("fracast", "--threads", "1", log=tmp_path / "log") as live:
        for name in ("meter-0", "meter-17", "meter-39"):
            rows = table[table.item_id == name]
            inputs = [{"item_id": name, "start": "2024-01-01T00:00:00", "target": rows.target.tolist()}]
            asked = {"prediction_length": 5, "quantile_levels": [0.1, 0.5, 0.9], "freq": "h"}
            (one,) = live.post("/v1/forecast", {"inputs": inputs, "parameters": asked}).json["predictions"]
            ours = made[made.item_id == name]
            for column in ("mean", "0.1", "0.5", "0.9"):
                np.testing.assert_allclose(ours[column], one[column], rtol=1e-4)
            assert ours.timestamp.tolist() == [pd.Timestamp(text) for text in one["timestamps"]]


def test_the_numbers_are_those_of_the_bare_model(tmp_path):
    chronos.make(tmp_path / "weights", "tiny")
    (tmp_path / "tsfm.ini").write_text(f"[chronos]\nmodel_folder = {tmp_path / 'weights'}\ndtype = float32\n")
    table = long_table(600, 512)
    table.to_parquet(tmp_path / "in.parquet")
    env = {"TSFM_INI": str(tmp_path / "tsfm.ini")}
    words = ("--family", "chronos", "--horizon", 48, "--processes", 2)
    done = tsfm("batch", tmp_path / "in.parquet", tmp_path / "out.parquet", *words, env=env)
    assert done.returncode == 0, done.stderr
    made = pd.read_parquet(tmp_path / "out.parquet")
    assert made.item_id.tolist() == np.repeat(table.item_id.unique(), 48).tolist()
    model = families.load("chronos", tmp_path / "weights", Runtime(dtype="float32"))
    rows = [Series(row) for row in table.target.to_numpy().reshape(600, 512)]
    bare = scaling.forecast(model, rows, 48, (0.1, 0.9))
    scale = table.target.std()
    np.testing.assert_allclose(made["mean"], np.concatenate([one.median for one in bare]), atol=1e-5 * scale)
    for at, level in enumerate(("0.1", "0.9")):
        np.testing.assert_allclose(made[level], np.concatenate([one.quantiles[at] for one in bare]), atol=1e-5 * scale)


@pytest.fixture
def slow(tmp_path):
    """The environment for a model that waits before each batch, so that a job can be interrupted."""
    (tmp_path / "naive.json").write_text(json.dumps({"delay_s": 0.3}))
    ini = tmp_path / "tsfm.ini"
    ini.write_text(f"[naive]\nmodel_folder = {tmp_path}\n")
    return {"TSFM_INI": str(ini)}


def test_an_interrupted_job_goes_on_where_it_ended(tmp_path, slow):
    long_table(1300).to_parquet(tmp_path / "in.parquet")
    words = (tmp_path / "in.parquet", tmp_path / "out.parquet", "--family", "naive", "--processes", 1)
    whole = tsfm("batch", words[0], tmp_path / "whole.parquet", *words[2:])
    assert whole.returncode == 0, whole.stderr
    parts = tmp_path / "out.parquet.parts"
    job = tsfm("batch", *words, env=slow, wait=False)
    until(lambda: len(list(parts.glob("*.parquet"))) >= 2)
    job.kill()
    job.communicate(timeout=60)  # ends when its processes have closed stderr: they end with it
    assert not (tmp_path / "out.parquet").exists()
    other = tsfm("batch", *words, "--horizon", 3)
    assert other.returncode == 2
    assert "out.parquet.parts: belongs to another job" in other.stderr
    again = tsfm("batch", *words)
    assert again.returncode == 0, again.stderr
    assert "portions kept from before" in again.stderr
    pd.testing.assert_frame_equal(pd.read_parquet(words[1]), pd.read_parquet(tmp_path / "whole.parquet"))
    assert not parts.exists()


def test_csv_in_and_out_and_a_series_that_has_no_forecast(tmp_path):
    table = long_table(3)
    table.loc[table.item_id == "meter-1", "target"] = np.nan
    table.to_csv(tmp_path / "in.csv", index=False)
    done = tsfm(
        "batch", tmp_path / "in.csv", tmp_path / "out.csv", "--family", "naive", "--horizon", 2, "--processes", 1
    )
    assert (done.returncode, "2 series, 1 without a forecast" in done.stderr) == (1, True), done.stderr
    made = pd.read_csv(tmp_path / "out.csv")
    assert made.item_id.value_counts().to_dict() == {"meter-0": 2, "meter-1": 1, "meter-2": 2}
    assert made[made.item_id == "meter-1"].error.notna().all()
    assert made[made.item_id == "meter-0"].error.isna().all()


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"item_id": ["a", "b", "a"], "target": [1.0, 2.0, 3.0]}, "the rows of item_id 'a' are not together"),
        ({"target": [1.0, 2.0, 3.0]}, "expected a column item_id, got target"),
        ({"item_id": []}, "expected a table with rows, got none"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_a_sentence(tmp_path, columns, said):
    pd.DataFrame(columns).to_parquet(tmp_path / "in.parquet")
    done = tsfm("batch", tmp_path / "in.parquet", tmp_path / "out.parquet", "--family", "naive", "--processes", 1)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_another_suffix_is_refused(tmp_path):
    done = tsfm("batch", "in.json", "out.parquet", "--family", "naive")
    assert done.returncode == 2
    assert "ends in .parquet or .csv, got 'in.json'" in done.stderr
