"""What every family promises of its numbers over HTTP: intervals, gaps, whole numbers, warnings, limits.

Served from small random checkpoints, as processes of their own.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Live
from safetensors.torch import load_file, save_file

from tsfm import card

pytestmark = pytest.mark.slow

# The folder of a service and the size of its checkpoint, where a family has several kinds.
KINDS = {
    "chronos": "tiny",
    "chronos-2": "tiny2",
    "fracast": "",
    "moirai": "tiny",
    "moirai-2": "tiny2",
    "tdtsfm": "tiny",
    "timemoe": "tiny",
    "timesfm": "tiny",
}
MASKS = {"chronos", "chronos-2", "fracast", "moirai", "moirai-2"}
DRAW = np.random.default_rng(5)
WAVE = (20 + 6 * np.sin(np.arange(300) / 4) + DRAW.normal(0, 0.5, 300)).round(3).tolist()
WEIGHTS = {"chronos": "model.safetensors", "timesfm": "torch_model.ckpt", "moment": "model.safetensors"}


def family_of(kind: str) -> str:
    return kind.removesuffix("-2")


def made(kind: str, size: str, folder: Path) -> list[str]:
    """The options that serve a small checkpoint from the folder."""
    options = ["--dtype", "float32", "--threads", "1"]
    if not card.read(family_of(kind)).checkpoints:
        return options
    importlib.import_module(f"checkpoints.{family_of(kind)}").make(folder, size)
    return [*options, "--model-folder", str(folder)]


@pytest.fixture(scope="module", params=KINDS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Live]]:
    kind, folder = request.param, tmp_path_factory.mktemp(request.param)
    live = Live(family_of(kind), *made(kind, KINDS[kind], folder / "weights"), log=folder / "log").until_ready()
    yield kind, live
    assert live.stop() == 0


def forecast(live: Live, values: list, **fields: object) -> dict:
    (model,) = live.get("/v1/models").json["models"]
    path = card.read(model["family"]).paths[0]
    answer = live.post(path, {"input": values} | fields)
    assert answer.status == 200, answer.body
    return answer.json


@pytest.mark.parametrize("confidence", [0, 1e-12, 1e-4, 0.5, 0.95, 0.999999])
def test_the_forecast_lies_within_its_interval(served, confidence):
    counts = DRAW.poisson(0.4, 300).tolist()
    for values in (WAVE, counts, [10**9 + value for value in WAVE]):
        answer = forecast(served[1], values, next_len=40, conf_interval=confidence)
        assert len(answer["output"]) == 40
        for lower, middle, upper in zip(answer["lower"], answer["output"], answer["upper"], strict=True):
            assert lower <= middle <= upper
            assert confidence or lower == upper


@pytest.mark.parametrize("gap", [1, 5, 37, 300])
def test_a_gap_at_the_start_makes_a_series_shorter(served, gap):
    plain = forecast(served[1], WAVE[-200:], next_len=48)
    gappy = forecast(served[1], [None] * gap + WAVE[-200:], next_len=48)
    for field in ("output", "lower", "upper"):
        np.testing.assert_allclose(gappy[field], plain[field], rtol=1e-6, err_msg=field)


@pytest.mark.parametrize("gap", [1, 20])
def test_a_gap_at_the_end_is_a_part_of_the_horizon_where_the_model_cannot_mask(served, gap):
    kind, live = served
    gappy = forecast(live, WAVE + [None] * gap, next_len=30)
    assert all(np.isfinite(gappy[field]).all() and len(gappy[field]) == 30 for field in ("output", "lower", "upper"))
    if kind not in MASKS:
        longer = forecast(live, WAVE, next_len=30 + gap)
        for field in ("output", "lower", "upper"):
            np.testing.assert_allclose(gappy[field], longer[field][gap:], rtol=1e-6, err_msg=field)


def test_a_gap_at_the_end_that_is_too_long_is_refused_in_words(served):
    kind, live = served
    (model,) = live.get("/v1/models").json["models"]
    answer = live.post(card.read(model["family"]).paths[0], {"input": WAVE + [None] * 9000, "next_len": 30})
    assert answer.status == 400
    said = answer.json["error"]
    assert said.startswith("input: ")
    if kind in MASKS:
        assert "observed points among the newest" in said
    else:
        assert "next_len 30 after 9000 missing points at the end of input leave room for" in said


def test_a_counter_beyond_two_to_the_53_is_forecast_to_its_last_digits(served):
    steps = np.cumsum(DRAW.integers(0, 3, 300)).tolist()
    high = forecast(served[1], [10**18 + step for step in steps], next_len=20)
    low = forecast(served[1], steps, next_len=20)
    for field in ("output", "lower", "upper"):
        assert all(type(value) is int for value in high[field])
        np.testing.assert_allclose([value - 10**18 for value in high[field]], low[field], atol=0.51)
    for lower, middle, upper in zip(high["lower"], high["output"], high["upper"], strict=True):
        assert lower <= middle <= upper


def test_warnings_come_only_where_there_is_something_to_tell(served):
    plain = forecast(served[1], WAVE, next_len=None, conf_interval=None, ts=None)
    assert list(plain) == ["status", "output", "lower", "upper", "conf_interval"]
    assert (len(plain["output"]), plain["conf_interval"]) == (10, 0.95)
    warned = forecast(served[1], WAVE, horizon=48)
    assert len(warned["output"]) == 10
    (told,) = warned["warnings"]
    assert told.startswith("horizon: not understood and ignored; known are input, next_len,")


def test_the_limits_told_are_those_that_hold(served):
    kind, live = served
    (model,) = live.get("/v1/models").json["models"]
    least, path = model["limits"]["min_rows"], card.read(model["family"]).paths[0]
    assert least == (96 if kind == "tdtsfm" else 10)
    assert least >= model["min_context"]
    assert live.post(path, {"input": WAVE[:least]}).status == 200
    answer = live.post(path, {"input": WAVE[: least - 1]})
    assert answer.status == 400
    assert answer.json["error"] == f"input: expected at least {least} points, got {least - 1}"
    schema = live.get("/openapi.json").json["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    assert schema["schema"]["properties"]["input"]["minItems"] == least


def test_a_short_series_of_many_is_forecast_or_refused_in_words(served):
    """Under /v1 a series may be as short as the model takes, below min_rows."""
    _, live = served
    (model,) = live.get("/v1/models").json["models"]
    lengths = [*range(1, 12), 96, 97]
    inputs = [{"item_id": length, "target": WAVE[:length]} for length in lengths]
    levels = [0.9, 0.0125, 0.5, 0.1, 0.999]
    asked = {"prediction_length": 30, "quantile_levels": levels}
    answer = live.post("/v1/forecast", {"inputs": inputs, "parameters": asked})
    assert answer.status == 200, answer.body
    for one in answer.json["predictions"]:
        if one["item_id"] >= model["min_context"]:
            rows = np.array([one[str(level)] for level in sorted(levels)])
            assert rows.shape == (5, 30)
            assert (np.diff(rows, axis=0) >= 0).all()
            assert one["mean"] == one["0.5"]
        else:
            assert f"at least {model['min_context']} observed points among the newest" in one["error"]


def test_as_many_covariates_as_told_are_taken(served):
    kind, live = served
    (model,) = live.get("/v1/models").json["models"]
    most, beside = model["limits"]["max_covariates"], model["covariates_beside_max_horizon"]
    if not model["capabilities"]["past_covariates"]:
        assert (most, beside) == (64, {"past": 64, "future": 64})  # of a regression
        assert forecast(live, WAVE, past_dynamic_real=[WAVE] * most)["covariates_how"] == "regression"
        return
    if "moirai" not in kind:
        assert (most, beside) == (64, {"past": 64, "future": 64})
        return
    assert (most, beside) == (62, {"past": 55, "future": 6})
    forecast(live, WAVE, next_len=1, past_dynamic_real=[WAVE] * most)
    over = live.post("/ds_predict", {"input": WAVE, "next_len": 1, "past_dynamic_real": [WAVE] * (most + 1)})
    assert over.status == 400
    assert over.json["error"] == (
        "covariates: 63 past covariates and next_len 1 leave room for 112 points of context; "
        "at least 128 are needed: send fewer covariates or a smaller next_len"
    )


def test_missing_covariates_are_masked_or_told(served):
    kind, live = served
    (model,) = live.get("/v1/models").json["models"]
    if not model["capabilities"]["past_covariates"]:
        return
    row = WAVE + WAVE[:10]
    past, future = [None] * 5 + row[5:300], row[:304] + [None] * 6
    answer = forecast(live, WAVE, past_dynamic_real=[past], dynamic_real=[future, [None] * 310])
    assert model["capabilities"]["covariate_gaps"] == (kind != "moirai")
    filled = {"past_dynamic_real": 5, "dynamic_real": 316} if kind == "moirai" else {}
    assert answer.get("warnings", []) == [
        f"{field}: moirai cannot mask missing covariates; {count} were filled by the mean of their past"
        for field, count in filled.items()
    ]
    if kind == "chronos-2":  # what is missing is not the last value, held
        held = forecast(live, WAVE, dynamic_real=[row[:304] + [row[303]] * 6])
        assert forecast(live, WAVE, dynamic_real=[future])["output"] != held["output"]


def test_moirai_with_its_newest_points_missing_beside_covariates_refuses_in_words(served):
    kind, live = served
    if "moirai" not in kind:
        return
    values = (WAVE * 7)[:1300] + [None] * 700
    answer = live.post("/ds_predict", {"input": values, "next_len": 24, "past_dynamic_real": [(WAVE * 7)[:2000]] * 15})
    assert answer.status == 400
    assert answer.json["error"] == "input: moirai needs at least 1 observed points among the newest 496, got 0"


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, identity", "gzip, zstd"])
def test_a_body_packed_otherwise_is_refused_in_words(served, encoding):
    kind, live = served
    if kind != "fracast":
        return
    answer = live.post("/ds_predict", b"\x1f\x8b\x08", headers={"Content-Encoding": encoding})
    assert answer.status == 415
    assert answer.json["error"] == f"Content-Encoding: expected gzip, zstd or none, got {encoding}"
    assert live.post("/ds_predict", {"input": WAVE}, headers={"Content-Encoding": "identity"}).status == 200


def spoilt(kind: str, folder: Path) -> str:
    """Give the checkpoint one vector of NaN, and its file's name."""
    file = folder / WEIGHTS[kind]
    state = load_file(file) if file.suffix == ".safetensors" else torch.load(file, weights_only=True)
    name = next(name for name in state if name.endswith(("output_layer.bias", "head.linear.bias")))
    state[name] = torch.full_like(state[name], torch.nan)
    save_file(state, file) if file.suffix == ".safetensors" else torch.save(state, file)
    return str(file)


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_that_give_no_numbers_never_become_ready(kind, serve, tmp_path):
    options = made(kind, "tiny", tmp_path / "weights")
    file = spoilt(kind, tmp_path / "weights")
    live = serve(kind, *options)
    assert live.process.wait(120) == 78
    told = live.log.read_text()
    assert f"{file}: expected weights that answer one request, but the model's answer holds values that are not" in told
    assert "Traceback" not in told
