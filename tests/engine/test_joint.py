"""Several variates, and several series, forecast together: as chronos-forecasting does it, whole, and within limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from checkpoints import chronos as maker
from checkpoints import toto

from tsfm import card, families, settings
from tsfm.engine import joint
from tsfm.engine.backlog import Backlog
from tsfm.engine.engine import Engine
from tsfm.engine.v1.parameters import NOT_TOGETHER
from tsfm.engine.work import WorkItem
from tsfm.families import naive
from tsfm.numerics import covariates, regression, scaling
from tsfm.official import load as load_official
from tsfm.series import Group, Runtime, Series

# The package warns of every horizon beyond one pass.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:We recommend keeping prediction length")]
FLOAT32 = Runtime(dtype="float32", threads=1)
LEVELS = maker.TWENTY_ONE
RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    maker.make(folder := tmp_path_factory.mktemp("chronos2"), "tiny2")
    return folder


@pytest.fixture(scope="module")
def official(folder):
    from chronos import Chronos2Pipeline  # seconds, for the process alone that runs this file

    return Chronos2Pipeline.from_pretrained(str(folder), torch_dtype=torch.float32)


@pytest.fixture(scope="module")
def engine(folder):
    engine = Engine(card.read("chronos"), settings.read("chronos", {}))
    engine.start(families.load("chronos", folder, FLOAT32), folder, FLOAT32)
    yield engine
    engine.close(10)


def answer(engine, *inputs, operation="forecast", **asked):
    steps = engine.task.operations[operation].steps()
    with engine.admit(1) as slot:
        return slot.hold(engine.answer({"inputs": list(inputs), "parameters": asked}, slot, steps)).get()


def values(*shape):
    """Walks in units of their own."""
    steps = RNG.normal(size=shape)
    return (np.cumsum(steps, -1) * 7 + RNG.uniform(50, 90, shape[:-1])[..., None]).round(4)


def sent(rows):
    """As JSON has it: null for a gap."""
    return np.where(np.isnan(rows), None, rows.astype(object)).tolist()


def assert_official(prediction, expected, rows):
    """Each quantile within 3e-4 of the spread of its row; one value in 500 may be farther, see tests/families."""
    made = np.stack([np.reshape(prediction[str(level)], (len(rows), -1)) for level in LEVELS], 1)
    off = np.abs(made - np.sort(expected.numpy(), axis=1)) / np.nanstd(rows, axis=1)[:, None, None]
    assert np.quantile(off, 0.998) < 3e-4
    assert off.max() < 0.03


@pytest.mark.parametrize("horizon", [24, 100])
def test_variates_with_gaps_of_their_own_and_covariates_are_forecast_together(engine, official, horizon):
    rows, load, heat = values(5, 200), values(200 + horizon), values(200)
    for at, gap in enumerate((slice(0, 30), slice(90, 130), slice(180, 200), slice(0, 200, 3))):
        rows[at, gap] = np.nan
    kinds = np.where(RNG.random(200 + horizon) < 0.3, "shut", "open")
    past = {"load": load[:200], "heat": heat, "kind": kinds[:200]}
    ahead = {"load": load[200:], "kind": kinds[200:]}
    (expected,) = official.predict(
        [{"target": rows, "past_covariates": past, "future_covariates": ahead}], prediction_length=horizon
    )
    given = {name: {key: row.tolist() for key, row in fields.items()} for name, fields in
             (("past_covariates", past), ("future_covariates", ahead))}  # fmt: skip
    made = answer(engine, {"target": sent(rows)} | given, prediction_length=horizon, quantile_levels=LEVELS)
    assert (made["multivariate_how"], made["covariates_how"]) == ("joint", "native")
    assert_official(made["predictions"][0], expected, rows)


def test_a_start_before_which_nothing_is_observed_and_a_constant_variate_change_no_other(engine, official):
    rows = values(3, 120)
    rows[:, :20] = np.nan
    rows[1] = 5.0
    rows[1, 60:70] = np.nan
    (expected,) = official.predict([rows], prediction_length=12)
    (made,) = answer(engine, {"target": sent(rows)}, prediction_length=12, quantile_levels=LEVELS)["predictions"]
    for at in (0, 2):
        one = {name: made[name][at] for name in map(str, LEVELS)}
        assert_official(one, expected[at : at + 1], rows[at : at + 1])
    for name in ("mean", "0.01", "0.99"):
        assert (made[name][1] == 5.0).all()


def test_a_target_whose_variates_are_all_constant_is_answered_with_their_constants(engine):
    (made,) = answer(engine, {"target": [[2, 2, 2, 2], [7, None, 7, 7]]}, prediction_length=3)["predictions"]
    for name in ("mean", "0.1", "0.9"):
        assert made[name][0].tolist() == [2.0] * 3
        assert made[name][1].tolist() == [7.0] * 3


def test_variates_beyond_two_to_the_53_keep_their_digits(engine):
    rows = [[10**18 + 3 * at for at in range(40)], [5 + at % 4 for at in range(40)]]
    (made,) = answer(engine, {"target": rows}, prediction_length=2)["predictions"]
    assert all(isinstance(value, int) and abs(value - 10**18) < 1000 for value in made["mean"][0])
    assert all(abs(value) < 100 for value in made["mean"][1])


def test_a_window_of_a_cross_validation_is_the_joint_forecast_from_its_cutoff(engine):
    rows = values(3, 90)
    asked = {"prediction_length": 6, "quantile_levels": [0.1]}
    made = answer(engine, {"target": sent(rows)}, operation="cross_validation", n_windows=3, **asked)
    assert made["multivariate_how"] == "joint"
    asked_more = answer(engine, {"target": sent(rows[0])}, operation="cross_validation", cross_learning=True, **asked)
    assert asked_more["warnings"] == [NOT_TOGETHER]
    for window in made["predictions"][0]["windows"]:
        (alone,) = answer(engine, {"target": sent(rows[:, : window["cutoff"]])}, **asked)["predictions"]
        np.testing.assert_allclose(window["mean"], alone["mean"], rtol=1e-5)
        np.testing.assert_allclose(window["0.1"], alone["0.1"], rtol=1e-5)


def test_series_learn_from_each_other_in_groups_as_in_the_official_code(engine, official):
    """Groups of at least seven rows in the order of the request; a refused series stays in its place."""
    sizes = ((1, 40), (1, 200), (1, 17), (3, 60), (1, 90), (4, 120), (1, 30))
    rows = [values(*size) for size in sizes]
    inputs = [{"item_id": at, "target": sent(one if len(one) > 1 else one[0])} for at, one in enumerate(rows)]
    expected = official.predict(rows, prediction_length=20, cross_learning=True, batch_size=7)
    asked = {"prediction_length": 20, "quantile_levels": LEVELS}
    inputs.insert(2, {"item_id": "bad", "target": ["x"]})
    made = answer(engine, *inputs, cross_learning=True, batch_size=7, **asked)
    assert made["multivariate_how"] == "joint"
    assert "warnings" not in made
    assert made["predictions"].pop(2) == {"item_id": "bad", "error": 'target[0]: expected a number or null, got "x"'}
    assert [one["item_id"] for one in made["predictions"]] == list(range(7))
    for one, theirs, row in zip(made["predictions"], expected, rows, strict=True):
        assert_official(one, theirs, row)
    (alone,) = answer(engine, inputs[0], **asked)["predictions"]
    assert (alone["mean"] != made["predictions"][0]["mean"]).all()


def test_covariates_of_each_series_are_in_the_group(engine, official):
    rows, load = values(3, 80), values(3, 96)
    tasks = [
        {"target": row, "past_covariates": {"load": one[:80]}, "future_covariates": {"load": one[80:]}}
        for row, one in zip(rows, load, strict=True)
    ]
    inputs = [
        {name: part.tolist() if name == "target" else {"load": part["load"].tolist()} for name, part in task.items()}
        for task in tasks
    ]
    expected = official.predict(tasks, prediction_length=16, cross_learning=True)
    made = answer(engine, *inputs, prediction_length=16, quantile_levels=LEVELS, cross_learning=True)
    for one, theirs, row in zip(made["predictions"], expected, rows, strict=True):
        assert_official(one, theirs, row[None])


@pytest.fixture(scope="module")
def toto_folder(tmp_path_factory):
    toto.make(folder := tmp_path_factory.mktemp("toto"))
    return folder


@pytest.fixture(scope="module")
def toto_engine(toto_folder):
    """Its checkpoints forecast variates together, and leave covariates to a regression."""
    engine = Engine(card.read("toto"), settings.read("toto", {}))
    engine.start(families.load("toto", toto_folder, FLOAT32), toto_folder, FLOAT32)
    yield engine
    engine.close(10)


@pytest.mark.parametrize(("count", "horizon"), [(2, 12), (8, 40)])
def test_variates_of_any_unit_are_forecast_together_as_in_toto_2(toto_engine, toto_folder, count, horizon):
    rows = values(count, 200) * 10.0 ** np.arange(-3, count - 3)[:, None]
    for at, row in enumerate(rows):
        row[: 12 * at] = np.nan
        row[100 + at : 100 + at + 40 * (at % 3)] = np.nan
        row[200 - at % 2 * 35 :] = np.nan
    units, scales = zip(*(scaling.standardise(Series(row), False) for row in rows), strict=True)
    levels = [at / 10 for at in range(1, 10)]
    (expected,) = load_official("toto", toto_folder, FLOAT32).forecast_joint([Group(units)], horizon, levels)
    made = answer(toto_engine, {"target": sent(rows)}, prediction_length=horizon, quantile_levels=levels)
    assert made["multivariate_how"] == "joint"
    for at, (scale, theirs) in enumerate(zip(scales, expected, strict=True)):
        ours = np.stack([made["predictions"][0][str(level)][at] for level in levels])
        np.testing.assert_allclose((ours - scale.centre) / scale.spread, theirs.quantiles, atol=1e-4)


def test_a_regression_takes_the_covariates_of_each_variate_and_the_model_the_rest_of_all(toto_engine):
    """A category has for each variate an encoding of its own. A variate may be missing at the end."""
    horizon, points = 20, 4200  # a regression uses the newest 4,096 observed points
    load, kinds = values(points + horizon), np.where(RNG.random(points + horizon) < 0.3, "shut", "open")
    rows = values(2, points) + np.outer([3, -2], load[:points]) + [[50], [9]] * (kinds == "shut")[:points]
    rows[0, -30:] = np.nan
    known = {"kind": kinds.tolist(), "load": load.tolist()}
    given = {
        "past_covariates": {name: row[:points] for name, row in known.items()},
        "future_covariates": {name: row[points:] for name, row in known.items()},
    }
    asked = {"prediction_length": horizon, "quantile_levels": [0.1, 0.9]}
    made = answer(toto_engine, {"target": sent(rows)} | given, **asked)
    assert (made["multivariate_how"], made["covariates_how"]) == ("joint", "regression")
    explained = []
    for row in rows:
        coded = np.concatenate(covariates.target_encoded(kinds[:points].tolist(), kinds[points:].tolist(), row))
        explained.append(regression.explain(Series(row, np.empty((0, 0)), np.stack([coded, load])), horizon))
    rest = np.stack([one.rest.target[-4096:] for one in explained])
    (left,) = answer(toto_engine, {"target": sent(rest)}, **asked)["predictions"]
    for name in ("mean", "0.1", "0.9"):
        expected = np.array(left[name]) + [one.ahead for one in explained]
        np.testing.assert_allclose(made["predictions"][0][name], expected, atol=1e-3)
    assert (np.abs([one.ahead for one in explained]).max(axis=1) > 10).all()


def test_one_variate_in_a_list_is_forecast_as_the_series_itself(toto_engine):
    row, load = values(90), values(100).tolist()
    given = {"past_covariates": {"load": load[:90]}, "future_covariates": {"load": load[90:]}}
    (listed,) = answer(toto_engine, {"target": [row.tolist()]} | given, prediction_length=10)["predictions"]
    (plain,) = answer(toto_engine, {"target": row.tolist()} | given, prediction_length=10)["predictions"]
    for name, expected in plain.items():
        np.testing.assert_array_equal(listed[name], [expected])


def test_variates_that_are_constant_but_for_their_covariates_have_their_effect(toto_engine):
    load = np.tile([0.0, 1.0, 3.0], 30)
    given = {"past_covariates": {"load": load[:84].tolist()}, "future_covariates": {"load": load[84:].tolist()}}
    rows = [(5 + 2 * load[:84]).tolist(), [7.0] * 84]
    (made,) = answer(toto_engine, {"target": rows} | given, prediction_length=6)["predictions"]
    np.testing.assert_allclose(made["mean"], [5 + 2 * load[84:], [7.0] * 6], atol=1e-2)


def test_a_family_that_cannot_says_so_and_forecasts_each():
    engine = Engine(card.read("naive"), settings.read("naive", {}))
    engine.start(naive.Naive({}), None, Runtime())
    made = answer(engine, {"target": [[1, 2, 3], [4, 4, 5]]}, {"target": [1, 2]}, cross_learning=True)
    assert made["warnings"] == [NOT_TOGETHER]
    assert made["multivariate_how"] == "each"
    many = [[float(at), at + 1.0] for at in range(65)]
    assert len(answer(engine, {"target": many})["predictions"][0]["mean"]) == 65
    engine.close(10)


def test_more_than_64_variates_are_refused_in_their_place(engine):
    fits, too_many, other = answer(
        engine, *({"target": values(count, 20).tolist()} for count in (64, 65, 1)), prediction_length=2
    )["predictions"]
    assert too_many == {
        "error": "target: expected at most 64 variates, which chronos forecasts together, got 65: "
        "send them as series of their own"
    }
    assert (len(fits["mean"]), len(other["mean"])) == (64, 1)


def test_a_variate_that_is_all_too_old_is_named(engine):
    rows = values(2, 600)
    rows[1, 50:] = np.nan
    assert answer(engine, {"target": sent(rows)})["predictions"] == [
        {"error": "target[1]: chronos needs at least 1 observed points among the newest 512, got 0"}
    ]


def test_cross_learning_keeps_to_its_limits(engine, monkeypatch):
    monkeypatch.setattr(joint, "MOST_POINTS", 300)
    made = answer(engine, *({"target": values(101).tolist()} for _ in range(3)), cross_learning=True)
    assert [one["error"] for one in made["predictions"]] == [
        "parameters.cross_learning: 3 series together, of up to 101 points and 0 covariates, are 303 points, of which "
        "at most 300 are forecast together: send fewer series or a smaller context_length"
    ] * 3
    made = answer(
        engine, *({"target": values(101).tolist()} for _ in range(3)), cross_learning=True, context_length=100
    )
    assert all("mean" in one for one in made["predictions"])


def test_a_group_that_does_not_fit_into_memory_is_refused_with_its_size(engine, monkeypatch):
    monkeypatch.setattr("tsfm.engine.memory.available", lambda: 1 << 20)
    rows = values(64, 300)
    (one,) = answer(engine, {"target": rows.tolist()})["predictions"]
    assert one["error"].startswith("64 series together, of up to 300 points and 0 covariates, needs about 109 MiB")


def test_groups_stay_whole_and_single_series_go_between_them():
    backlog = Backlog(80, 1)
    groups = [WorkItem(Group((Series(np.ones(10)),) * 7), "group") for _ in range(6)]
    backlog.add_many(groups)
    assert backlog.take(0) == [groups[0]]  # two do not fit into one batch
    single = WorkItem(Series(np.ones(10)), "call")
    backlog.waiting.append(single)
    assert backlog.take(0) == [single]
    huge = WorkItem(Group((Series(np.ones(50)),) * 20), "group")
    backlog.add_many([huge])
    left = [backlog.take(0) for _ in range(6)]
    assert sorted(map(len, left)) == [1] * 6
    assert huge in [one for (one,) in left]
    assert not backlog
