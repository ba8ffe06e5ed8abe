"""`tsfm backtest` against running services: the scores are the service's own, beside seasonal naive's."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkpoints import chronos
from conftest import HERE, Live

ROOT = HERE.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Fracast, which `--family all` finds: its weights are in its package."""
    folder = tmp_path_factory.mktemp("fracast")
    ini = folder / "tsfm.ini"
    ini.write_text("[fracast]\nmax_series = 8\n")
    service = Live("fracast", "--threads", "1", log=folder / "log", env={"TSFM_INI": str(ini)})
    try:
        yield service.until_ready()
    finally:
        service.stop()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twelve series with a season of 12, the last one too short for three windows of eight steps."""
    rows = [
        f"m{meter},{hour},{10 + meter + 3 * math.sin(math.tau * hour / 12) + hour % 5 / 10}"
        for meter in range(12)
        for hour in range(120 if meter < 11 else 20)
    ]
    file = tmp_path / "x.csv"
    file.write_text("\n".join(("meter,hour,v", *rows)) + "\n")
    return file


def backtest(live: Live, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    from tsfm import card

    ini = folder / "tsfm.ini"
    closed = "".join(f"[{name}]\nport = 1\n" for name in card.names() if name != "fracast")
    ini.write_text(f"[fracast]\nport = {live.port}\n{closed}")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "TSFM_INI": str(ini)}
    command = [sys.executable, "-m", "tsfm", "backtest", *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


WORDS = ("--id", "meter", "--horizon", "8", "--column", "v")


def test_the_scores_over_all_series_are_those_that_the_service_gives(live: Live, source: Path, tmp_path: Path) -> None:
    done = backtest(live, tmp_path, source, *WORDS, "--json", "--output", tmp_path / "o.csv")
    assert done.returncode == 1, done.stderr
    assert "tsfm: m11: " in done.stderr
    assert "x.csv: column v: expected at least 25 points for 3 windows, got 20" in done.stderr
    (run,) = json.loads(done.stdout)
    assert run["family"] == "fracast"
    assert [one.get("season_length") for one in run["series"]] == [12] * 11 + [None]
    # max_series of the service is 8, so the command sent two series at once; here are the first two by HTTP.
    series = [[10 + m + 3 * math.sin(math.tau * h / 12) + h % 5 / 10 for h in range(120)] for m in range(2)]
    parameters = {"prediction_length": 8, "n_windows": 3, "quantile_levels": [0.1, 0.5, 0.9]}
    said = live.post("/v1/cross_validation", {"inputs": [{"target": s} for s in series], "parameters": parameters})
    assert said.status == 200, said.body
    for ours, theirs in zip(run["series"], said.json["predictions"], strict=False):
        for name in ("metrics", "seasonal_naive"):
            assert {key: ours[name][key] for key in ("mase", "rmsse", "wql")} == pytest.approx(
                {key: theirs[name][key] for key in ("mase", "rmsse", "wql")}, rel=1e-4
            )
    mean = sum(one["metrics"]["mase"] for one in run["series"][:11]) / 11
    assert run["metrics"]["mase"] == pytest.approx(mean)
    with (tmp_path / "o.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [row["item_id"] for row in written] == [f"m{meter}" for meter in range(11)]
    assert float(written[3]["mase"]) == run["series"][3]["metrics"]["mase"]


def test_over_all_is_the_services_own_where_one_request_is_enough(live: Live, source: Path, tmp_path: Path) -> None:
    lines = source.read_text().splitlines()
    source.write_text("\n".join(line for line in lines if line.startswith(("meter", "m0,", "m1,"))) + "\n")
    done = backtest(live, tmp_path, source, *WORDS, "--json", "--output", tmp_path / "o.json")
    assert done.returncode == 0, done.stderr
    (run,) = json.loads((tmp_path / "o.json").read_text())
    series = [[float(line.split(",")[2]) for line in lines if line.startswith(f"m{m},")] for m in range(2)]
    parameters = {"prediction_length": 8, "n_windows": 3, "quantile_levels": [0.1, 0.5, 0.9]}
    said = live.post("/v1/cross_validation", {"inputs": [{"target": s} for s in series], "parameters": parameters}).json
    for name in ("metrics", "seasonal_naive"):
        theirs = said[name]
        below = theirs["coverage"]
        expected = {key: theirs[key] for key in ("mase", "rmsse", "wql")} | {"coverage": below["0.9"] - below["0.1"]}
        assert run[name] == pytest.approx(expected, rel=1e-6)
    assert len(run["series"][0]["windows"]) == 3


def test_all_means_those_that_run_and_the_table_has_seasonal_naive_below(
    live: Live, source: Path, tmp_path: Path
) -> None:
    lines = source.read_text().splitlines()
    source.write_text("\n".join(line for line in lines if line.startswith(("meter", "m0,"))) + "\n")
    done = backtest(live, tmp_path, source, *WORDS, "--family", "all", "--windows", 2, "--season", 12)
    assert done.returncode == 0, done.stderr
    head, ours, naive, summary = done.stdout.splitlines()
    assert head.split() == ["MODEL", "MASE", "WQL", "COVERAGE", "OF", "80", "%", "SECONDS"]
    assert ours.split()[0] == "fracast"
    assert naive.split()[:2] == ["seasonal", "naive"]
    assert summary == "1 series, 2 forecasts, season of 12 rows"


def test_where_none_runs_the_next_step_is_named(live: Live, source: Path, tmp_path: Path) -> None:
    class Closed:
        port = 1

    done = backtest(Closed(), tmp_path, source, *WORDS, "--family", "all")  # type: ignore[arg-type]
    assert done.returncode == 1
    assert "no family that forecasts runs on this host; give one with --family, and it is started" in done.stderr


def test_covariates_known_in_advance_are_used_in_each_window(tmp_path: Path) -> None:
    chronos.make(tmp_path / "chronos", "tiny2")
    options = ("--model-folder", str(tmp_path / "chronos"), "--dtype", "float32", "--threads", "1")
    service = Live("chronos", *options, log=tmp_path / "log")
    rows = [f"{i},{(3 * i) % 11},{(3 * i + 1) % 11}" for i in range(60)]
    (tmp_path / "x.csv").write_text("\n".join(("n,v,known", *rows)) + "\n")
    (tmp_path / "tsfm.ini").write_text(f"[chronos]\nport = {service.port}\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "TSFM_INI": str(tmp_path / "tsfm.ini")}
    words = ("--family", "chronos", "--horizon", "4", "--column", "v", "--covariate", "future:known", "--json")
    command = [sys.executable, "-m", "tsfm", "backtest", str(tmp_path / "x.csv"), *words]
    try:
        service.until_ready()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        values, known = ([float((3 * i + shift) % 11) for i in range(60)] for shift in (0, 1))
        one = {"target": values, "past_covariates": {"known": known}, "future_covariates": {"known": []}}
        parameters = {"prediction_length": 4, "n_windows": 3, "quantile_levels": [0.1, 0.5, 0.9]}
        theirs = service.post("/v1/cross_validation", {"inputs": [one], "parameters": parameters}).json
    finally:
        service.stop()
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout)
    assert run["metrics"]["wql"] == pytest.approx(theirs["metrics"]["wql"], rel=1e-6)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--windows", "0"], "--windows: expected a whole number from 1 to 1024, got 0"),
        (["--output", "x.parquet"], "--output: expected a name that ends with one of .csv, .json, got x.parquet"),
        (["--family", "moment"], "--family: moment fills gaps and does not forecast"),
        (["--covariate", "temp"], "--covariate: expected past:COLUMN or future:COLUMN, got temp"),
    ],
)
def test_a_wrong_option_is_named(live: Live, source: Path, tmp_path: Path, words: list[str], sentence: str) -> None:
    done = backtest(live, tmp_path, source, *words)
    assert done.returncode == 2
    assert sentence in done.stderr
