"""What every family promises of its numbers over HTTP: intervals, gaps, whole numbers, warnings, limits.

Served from small random checkpoints, as processes of their own.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import HERE, Live
from safetensors.torch import load_file, save_file

from tsfm import card

pytestmark = pytest.mark.slow

# The folder of a service and the size of its checkpoint, where a family has several kinds.
KINDS = {
    "chronos": "tiny",
    "chronos-2": "tiny2",
    "flowstate": "tiny",
    "fracast": "",
    "moirai": "tiny",
    "moirai-2": "tiny2",
    "tdtsfm": "tiny",
    "timemoe": "tiny",
    "timesfm": "tiny",
    "tirex": "tiny",
    "toto": "tiny",
}
SIZES = KINDS | {"moment": "tiny"}  # it fills gaps, and is asked by tests of its own only
MASKS = {"chronos", "chronos-2", "flowstate", "fracast", "moirai", "moirai-2", "tirex", "toto"}
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
    live = Live(
        family_of(kind), *made(kind, SIZES[kind], folder / "weights"), log=folder / "log", forked=True
    ).until_ready()
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
    answer = live.post(card.read(model["family"]).paths[0], {"input": WAVE + [None] * 20_000, "next_len": 30})
    assert answer.status == 400
    said = answer.json["error"]
    assert said.startswith("input: ")
    if kind in MASKS:
        assert "observed points among the newest" in said
    else:
        assert "next_len 30 after 20000 missing points at the end of input leave room for" in said


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
    live = serve(kind, *options, forked=True)
    assert live.process.wait(120) == 78
    told = live.log.read_text()
    assert f"{file}: expected weights that answer one request, but the model's answer holds values that are not" in told
    assert "Traceback" not in told


# What each family does: the tables of the documents, `tsfm list` and /v1/models, against services

ROOT = HERE.parent
COLUMNS = ["univariate", "covariates", "several variates", "anomaly detection"]
LISTED = dict(zip(COLUMNS, ("UNIVARIATE", "COVARIATES", "VARIATES", "ANOMALIES"), strict=True))
TOLD = {
    **dict.fromkeys(("by forecasts", "基于预测"), "forecasts"),
    **dict.fromkeys(("by reconstruction", "基于重构"), "reconstruction"),
    **{
        "预测": "forecast",
        "填补": "imputation",
        "原生": "native",
        "回归": "regression",
        "联合": "joint",
        "逐个": "each",
    },
    **{"单变量": COLUMNS[0], "协变量": COLUMNS[1], "多变量": COLUMNS[2], "异常检测": COLUMNS[3]},
}
Row = dict[str, str]
"""A word for each column."""


def v1(live: Live, task: str, inputs: dict[str, object], **parameters: object) -> dict:
    """The answer for one series, and what is said beside it."""
    answer = live.post(f"/v1/{task}", {"inputs": [inputs], "parameters": parameters})
    assert answer.status == 200, answer.body
    (prediction,) = answer.json.pop("predictions")
    assert "error" not in prediction, prediction
    return answer.json | prediction


def what_a_service_does(live: Live) -> Row:
    does = {COLUMNS[2]: on_several_variates(live), COLUMNS[3]: to_find_anomalies(live)}
    if live.post("/v1/forecast", {"inputs": [{"target": WAVE}]}).status == 200:
        assert np.isfinite(v1(live, "forecast", {"target": WAVE}, prediction_length=9)["0.5"]).all()
        return {COLUMNS[0]: "forecast", COLUMNS[1]: with_covariates(live)} | does
    filled = v1(live, "imputation", {"target": [*WAVE[:200], *[None] * 16, *WAVE[216:]]})
    assert filled["mask"] == [0] * 200 + [1] * 16 + [0] * 84
    assert np.isfinite(filled["target"]).all()
    return {COLUMNS[0]: "imputation", COLUMNS[1]: "-"} | does


def with_covariates(live: Live) -> str:
    """By a covariate that lifts the series by 10: a regression lifts the forecast likewise, a model as it may."""
    effect = (np.arange(300) % 7 == 0) * 1.0
    target = [*(np.array(WAVE) + 10 * effect)]
    ahead = np.array([0.0, 1.0, 0.0, 0.0, 1.0, 0.0])

    def asked(values: np.ndarray) -> dict:
        one = {"target": target, "past_covariates": {"a": [*effect]}, "future_covariates": {"a": [*values]}}
        return v1(live, "forecast", one, prediction_length=6)

    with_it, without = asked(ahead), asked(0 * ahead)
    lift = np.subtract(with_it["0.5"], without["0.5"])
    assert np.abs(lift).max() > 1e-4, "the covariate is not used"
    how = "regression" if np.allclose(lift, 10 * ahead, atol=1) else "native"
    past = v1(live, "forecast", {"target": target, "past_covariates": {"a": [*effect]}}, prediction_length=6)
    assert with_it["covariates_how"] == without["covariates_how"] == past["covariates_how"] == how
    return how


def on_several_variates(live: Live) -> str:
    """By whether one variate's answer depends on another one."""
    task = "forecast" if live.post("/v1/forecast", {"inputs": [{"target": WAVE}]}).status == 200 else "imputation"
    gappy = [*WAVE[:200], *[None] * 16, *WAVE[216:]] if task == "imputation" else WAVE
    answers = [
        v1(live, task, {"target": [gappy, [*np.roll(WAVE, shift) * factor]]}) for shift, factor in ((40, 1), (90, -5))
    ]
    one, other = (np.array(answer["0.5" if task == "forecast" else "target"]) for answer in answers)
    assert not np.allclose(one[1], other[1])
    how = "each" if np.allclose(one[0], other[0], rtol=1e-4) else "joint"
    assert {answer["multivariate_how"] for answer in answers} == {how}
    return how


def to_find_anomalies(live: Live) -> str:
    """A spike is found; a forecast from the points before does not know what follows, a reconstruction does."""
    spiked = np.array(WAVE)
    spiked[150] += 40
    answer = v1(live, "anomaly_detection", {"target": [*spiked]}, level=0.99)
    assert answer["anomaly"][150] is True
    assert answer["anomaly"].count(True) < 15
    later = v1(live, "anomaly_detection", {"target": [*spiked[:-16], *(3 * spiked[-16:])]}, level=0.99)
    known = [(a, b) for a, b in zip(answer["expected"], later["expected"], strict=True) if a is not None]
    ours, theirs = np.array(known)[:-16].T
    return "forecasts" if np.allclose(ours, theirs, rtol=1e-4) else "reconstruction"


@cache
def documented() -> dict[tuple[str, str], Row]:
    """What each table of the documents says of each checkpoint: a row for (document, family/checkpoint)."""
    found = {}
    for name in ("README.md", "README.zh-CN.md", "docs/families.md", "docs/zh/families.md"):
        tables = re.findall(r"(?:^\|.*\n)+", (ROOT / name).read_text(), re.MULTILINE)
        for table in tables:
            heads, _, *rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]
            heads = [TOLD.get(head, head) for head in heads]
            if not set(COLUMNS) <= set(heads):
                continue
            for row in rows:
                for checkpoint in [one.folder for one in card.read(row[0]).checkpoints] or [""]:
                    told = {column: said_of(row[heads.index(column)], checkpoint) for column in COLUMNS}
                    found[name, f"{row[0]}/{checkpoint}"] = told
    return found


def said_of(cell: str, checkpoint: str) -> str:
    """The word of a checkpoint in a cell such as ``regression (chronos-2: native)``."""
    default, _, others = cell.removesuffix(")").partition(" (")
    for other in others.split("; ") if others else []:
        names, word = other.split(": ")
        if checkpoint in names.split(", "):
            default = word
    return TOLD.get(default, default)


@cache
def listed(*options: str) -> str:
    command = [sys.executable, "-m", "tsfm", "list", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout


@cache
def listed_rows() -> dict[str, Row]:
    """The columns of `tsfm list` for each family/checkpoint."""
    heads, *lines = listed().splitlines()
    starts = [match.start() for match in re.finditer(r"(?<=  )\S|^\S", heads)]
    titles, family, found = re.split(r"  +", heads), "", {}
    for line in lines:
        cells = [line[at:end].strip() for at, end in zip(starts, [*starts[1:], None], strict=True)]
        row = dict(zip(titles, cells, strict=True))
        family = row["FAMILY"] or family
        folder = row["CHECKPOINT"].rpartition("/")[2] if card.read(family).checkpoints else ""
        found[f"{family}/{folder}"] = {column: row[title] for column, title in LISTED.items()}
    return found


def words_of(task: str, ways: Row) -> Row:
    """The columns from the words of /v1/models and `tsfm list --json`."""
    assert ways.get("past_covariates_how") == ways.get("future_covariates_how")
    how = (ways.get(f"{name}_how", "-") for name in ("past_covariates", "multivariate", "anomaly_detection"))
    return dict(zip(COLUMNS, (task, *how), strict=True))


@pytest.mark.parametrize("served", SIZES, indirect=True)
def test_every_cell_of_every_table_is_what_a_service_does(served):
    kind, live = served
    does = what_a_service_does(live)
    (model,) = live.get("/v1/models").json["models"]
    assert words_of(model["task"], model) == does
    assert model["capabilities"]["anomaly_detection"] is True
    family = next(one for one in json.loads(listed("--json")) if one["name"] == family_of(kind))
    found = []
    for checkpoint in family["checkpoints"] or [{"name": "", "ways": family.get("ways")}]:
        folder = checkpoint["name"].rpartition("/")[2]
        if folder.startswith(("chronos-2", "moirai-2")) != kind.endswith("-2"):
            continue  # it is of the family's other kind
        place = f"{family['name']}/{folder}"
        assert words_of(family["task"], checkpoint["ways"]) == does, place
        assert listed_rows()[place] == does, place
        told = {name: row for (name, of), row in documented().items() if of == place}
        assert told == dict.fromkeys(("README.md", "README.zh-CN.md", "docs/families.md", "docs/zh/families.md"), does)
        found.append(folder)
    assert found, kind
