"""A maker's package as a service, `engine = official`: what a service promises holds for it too."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import Live

from tsfm import official
from tsfm.numerics import scaling
from tsfm.series import Runtime, Series

pytestmark = pytest.mark.long

DRAW = np.random.default_rng(11)
WAVE = (20 + 6 * np.sin(np.arange(300) / 4) + DRAW.normal(0, 0.5, 300)).round(3).tolist()
OFFICIAL = ("--engine", "official", "--threads", "1")
PATHS = {"chronos": "float32, chronos-forecasting 2.3.2", "timesfm": "float32, timesfm 1.3.0"}


@pytest.fixture(scope="module", params=PATHS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Live]]:
    family, folder = request.param, tmp_path_factory.mktemp(request.param)
    importlib.import_module(f"checkpoints.{family}").make(folder / "weights")
    live = Live(family, *OFFICIAL, "--model-folder", str(folder / "weights"), log=folder / "log").until_ready()
    yield family, live
    assert live.stop() == 0
    assert "Traceback" not in live.log.read_text()


def test_it_says_which_engine_and_package_run(served: tuple[str, Live]) -> None:
    family, live = served
    (model,) = live.get("/v1/models").json["models"]
    assert (model["engine"], model["path"]) == ("official", PATHS[family])
    assert model["licence"] == "Apache-2.0"
    assert model["commercial"] == "yes"


def test_each_request_of_many_at_once_gets_the_answer_of_the_package(served: tuple[str, Live]) -> None:
    family, live = served
    bodies = [{"input": WAVE[-length:], "next_len": 30, "conf_interval": 0.9} for length in (300, 210, 90, 60)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: live.post("/ds_predict", body), bodies * 4))
    package = official.load(family, live.log.parent / "weights", Runtime(dtype="float32", threads=1))
    for body, answer in zip(bodies * 4, answers, strict=True):
        assert answer.status == 200, answer.body
        (alone,) = scaling.forecast(package, [Series(np.array(body["input"]))], 30, (0.05, 0.95))
        np.testing.assert_allclose(answer.json["output"], alone.median, rtol=2e-4, atol=2e-4)
        assert np.all(np.array(answer.json["lower"]) <= answer.json["output"])
        assert np.all(np.array(answer.json["output"]) <= answer.json["upper"])


def test_a_bad_series_of_many_fails_alone_and_in_words(served: tuple[str, Live]) -> None:
    _, live = served
    targets = [WAVE, [None] * 50, WAVE[:120], ["x"] * 20, [3.5] * 40, WAVE + [None] * 20]
    inputs = [{"item_id": at, "target": target} for at, target in enumerate(targets)]
    answer = live.post("/v1/forecast", {"inputs": inputs, "parameters": {"prediction_length": 100}})
    assert answer.status == 200, answer.body
    errors = {one["item_id"]: one["error"] for one in answer.json["predictions"] if "error" in one}
    assert set(errors) == {1, 3}
    assert "expected" in errors[3]
    for one in answer.json["predictions"]:
        if one["item_id"] not in errors:
            rows = np.array([one["0.1"], one["0.5"], one["0.9"]])
            assert rows.shape == (3, 100)
            assert np.isfinite(rows).all()
            assert (np.diff(rows, axis=0) >= 0).all()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"input": WAVE[:9]}, "input: expected at least 10 points, got 9"),
        ({"input": WAVE, "next_len": 1025}, "next_len: expected a whole number from 1 to 1024, got 1025"),
        ({"input": [None] * 40}, "input: expected at least one number, got 40 missing values"),
    ],
)
def test_the_limits_of_a_request_hold(served: tuple[str, Live], body: dict[str, object], said: str) -> None:
    answer = served[1].post("/ds_predict", body)
    assert answer.status == 400
    assert answer.json == {"status": "error", "error": said}


def test_covariates_that_the_package_does_not_take_are_used_by_a_regression(served: tuple[str, Live]) -> None:
    answer = served[1].post("/ds_predict", {"input": WAVE, "next_len": 5, "past_dynamic_real": [WAVE]})
    assert answer.status == 200, answer.body
    assert answer.json["covariates_how"] == "regression"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tdtsfm", "--engine", "official"), "engine: official serves chronos, "),
        (("fracast", *OFFICIAL, "--dtype", "bfloat16"), "dtype: expected auto or float32 with fracast==0.1.0, got bf"),
        (("fracast", "--engine", "maker"), "--engine: expected one of native, official, got 'maker'"),
    ],
)
def test_what_it_cannot_run_is_refused_at_the_start(serve, words: tuple[str, ...], said: str) -> None:
    live = serve(*words)
    assert live.process.wait(120) == 78
    last = live.log.read_text().splitlines()[-1]
    assert last.startswith(f"tsfm: {said}")


def changed(folder: Path, **keys: object) -> Path:
    """A small Time-MoE with other values in its configuration."""
    importlib.import_module("checkpoints.timemoe").make(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | keys))
    return folder


def test_what_our_network_refuses_and_the_package_takes_is_served_by_it(serve, tmp_path: Path) -> None:
    where = ("--threads", "1", "--model-folder", str(changed(tmp_path / "weights", hidden_act="gelu")))
    refused = serve("timemoe", *where)
    assert refused.process.wait(120) == 78
    (told,) = refused.log.read_text().splitlines()[-1:]
    assert (
        "hidden_act: expected 'silu', found 'gelu'; engine = official can serve it: set engine = official in " in told
    )
    live = serve("timemoe", *where, "--engine", "official").until_ready()
    answer = live.post("/ds_predict", {"input": WAVE, "next_len": 5})
    assert answer.status == 200, answer.body
    lower, output, upper = (np.array(answer.json[name]) for name in ("lower", "output", "upper"))
    assert (lower < output).all()
    assert (output < upper).all()


def test_what_the_package_does_not_take_either_is_said_with_its_reason(tmp_path: Path) -> None:
    folder = changed(tmp_path, input_size=2)
    said = official.way_out("timemoe", folder)
    assert said.startswith(
        f"its maker's package does not take it either: {folder}: expected a checkpoint that sktime=="
    )
    assert official.way_out("tdtsfm", folder) == ""
