"""Every family, from a small checkpoint: the same answer by HTTP, in company and alone, by script and by command."""

import importlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tsfm import card, families, settings
from tsfm.engine import forecast
from tsfm.numerics import scaling
from tsfm.series import Runtime, Series

pytestmark = pytest.mark.long

RNG = np.random.default_rng(7)
LENGTHS = (700, 420, 130, 96)
# bfloat16 rounds differently where a batch has another shape; float32 leaves only the order of sums.
EXACT = {"rtol": 2e-4, "atol": 2e-4}
LIMITS = settings.read("naive", {})


def series(length):
    steps = np.arange(length)
    return 20 + 3 * np.sin(steps / 6) + RNG.normal(0, 0.5, length)


def with_holes(length):
    values = series(length)
    values[length // 2 : length // 2 + 11] = np.nan
    values[length - 3 :] = np.nan
    return values


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A function from a family's name to the options that serve it here."""

    def make(name: str) -> Path | None:
        facts = card.read(name)
        if not facts.checkpoints:
            return None
        folder = tmp_path_factory.mktemp(name) / facts.checkpoints[0].folder
        importlib.import_module(f"checkpoints.{name}").make(folder)
        return folder

    return make


@pytest.mark.parametrize("name", card.names(packaged_only=True))
def test_a_family_gives_the_same_answer_by_http_and_directly_alone_and_in_company(name, checkpoints, serve):
    folder = checkpoints(name)
    options = ["--model-folder", str(folder), "--dtype", "float32", "--threads", "1"] if folder else ["--threads", "1"]
    live = serve(name, *options).until_ready()
    model = families.load(name, folder, Runtime(dtype="float32", threads=1))
    path = card.read(name).paths[0]
    assert live.get(path).status == 405
    bodies, expected = (forecasts if card.read(name).task == "forecast" else imputations)(model)
    with ThreadPoolExecutor(len(bodies)) as pool:
        answers = list(pool.map(lambda body: live.post(path, body), bodies * 2))
    answers.append(live.post(path, bodies[0]))
    check_many(live, path, bodies[:1], {"rtol": 0, "atol": 0})
    check_many(live, path, bodies, EXACT)
    for answer, fields in zip(answers, [*expected, *expected, expected[0]], strict=True):
        assert answer.status == 200, answer.body
        for field, values in fields.items():
            np.testing.assert_allclose(answer.json[field], values, **EXACT, err_msg=f"{name} {field}")


def check_many(live, path, bodies, allowed):
    """One request for all series gives what one request for each gives; to the bit where batches are the same."""
    one_by_one = [live.post(path, body).json for body in bodies]
    levels = (0.05, 0.95)
    asked = {"prediction_length": 30, "quantile_levels": levels} if "next_len" in bodies[0] else {}
    many = live.post(f"/v1/{'forecast' if asked else 'imputation'}", {
        "inputs": [{"item_id": at, "target": body["input"]} for at, body in enumerate(bodies)], "parameters": asked,
    })  # fmt: skip
    assert many.status == 200, many.body
    names = dict(zip(("output", "lower", "upper"), ("mean", *map(str, levels)), strict=True))
    names = names if asked else {"target": "target", "mask": "mask"}
    for at, (alone, among) in enumerate(zip(one_by_one, many.json["predictions"], strict=True)):
        assert among["item_id"] == at
        for ours, theirs in names.items():
            np.testing.assert_allclose(among[theirs], alone[ours], **allowed, err_msg=f"{path} {theirs}")


def forecasts(model):
    bodies, expected = [], []
    for length in LENGTHS:
        values = series(length)
        bodies.append({"input": values.tolist(), "next_len": 30, "conf_interval": 0.9})
        asked = forecast.read(bodies[-1], LIMITS)
        (alone,) = scaling.forecast(model, [Series(values)], 30, asked.levels)
        lower, upper = alone.quantiles
        expected.append({"output": alone.median, "lower": lower, "upper": upper})
    return bodies, expected


def imputations(model):
    bodies, expected = [], []
    for length in LENGTHS:
        values = with_holes(length)
        points = [None if np.isnan(v) else v for v in values]
        bodies.append({"input": points, "ts": list(range(length)), "precision": "s", "freq": "s"})
        (alone,) = scaling.impute(model, [Series(values)])
        expected.append({"target": np.where(np.isnan(values), alone, values), "mask": np.isnan(values)})
    return bodies, expected
