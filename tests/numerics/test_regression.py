"""The regression on covariates: its numbers, what it must not be harmed by, and that it helps."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tsfm.families import fracast
from tsfm.numerics import regression, scaling
from tsfm.series import Runtime, Series

HORIZON = 24


@pytest.fixture(scope="module")
def xreg(monkeypatch_module):
    """TimesFM's own regression; it asks JAX for a pseudo-inverse and zero padding, which NumPy computes too."""
    jax = ModuleType("jax")
    jax.numpy, jax.Array = np, np.ndarray
    jax.devices, jax.default_device = (lambda _: [None]), nullcontext
    monkeypatch_module.setitem(sys.modules, "jax", jax)
    monkeypatch_module.setitem(sys.modules, "jax.numpy", np)
    spec = importlib.util.find_spec("timesfm")
    path = Path(spec.submodule_search_locations[0]) / "xreg_lib.py"
    module = importlib.util.module_from_spec(importlib.util.spec_from_file_location("xreg_lib", path))
    module.__spec__.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def drifting(source, points, pull):
    values = np.zeros(points)
    for at in range(1, points):
        values[at] = pull * values[at - 1] + source.normal()
    return values


def series(seed=0, points=200, effects=(0.7, -1.3)):
    """A seasonal series that covariates drive, its continuation, and the covariates."""
    source = np.random.default_rng(seed)
    rows = np.array([drifting(source, points + HORIZON, 0.9) for _ in effects])
    quiet = np.sin(np.arange(points + HORIZON) * np.pi / 12) + drifting(source, points + HORIZON, 0.7) * 0.1
    whole = quiet + np.asarray(effects) @ rows
    return whole[:points], whole[points:], rows


def test_weights_are_those_of_timesfm(xreg):
    target, _, rows = series()
    points = len(target)
    theirs = xreg.BatchedInContextXRegLinear(
        targets=[target],
        train_lens=[points],
        test_lens=[HORIZON],
        train_dynamic_numerical_covariates={str(i): [row[:points]] for i, row in enumerate(rows)},
        test_dynamic_numerical_covariates={str(i): [row[points:]] for i, row in enumerate(rows)},
    )
    _, fitted, *_ = theirs.fit(debug_info=True)
    weights = regression.ridge(rows[:, :points], target, penalty=0.0)
    ours = target.mean() + weights @ (rows[:, :points] - rows[:, :points].mean(1, keepdims=True))
    np.testing.assert_allclose(ours, fitted[0], rtol=1e-9, atol=1e-9)


def test_ridge_is_that_of_scikit_learn():
    from sklearn.linear_model import Ridge

    target, _, rows = series()
    rows = rows[:, : len(target)]
    theirs = Ridge(alpha=0.3 * len(target)).fit(rows.T, target)
    np.testing.assert_allclose(regression.ridge(rows, target, penalty=0.3), theirs.coef_, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-200, 1, 1e12, 1e200])
@pytest.mark.parametrize("level", [0, 1e9])
def test_effect_is_found_in_any_unit(scale, level):
    target, _, rows = series()
    found = regression.explain(Series(target * scale + level * scale, future_covariates=rows * 1e6 + 5e8), HORIZON)
    expected = np.array([0.7, -1.3]) * rows[:, : len(target)].std(1) / target.std()
    np.testing.assert_allclose(found.weights, expected, rtol=0.1)
    effect = np.array([0.7, -1.3]) @ (rows[:, len(target) :] - rows[:, : len(target)].mean(1, keepdims=True))
    np.testing.assert_allclose(found.ahead / scale, effect, atol=0.2)
    assert np.isfinite(found.rest.target).all()


def test_rest_and_effect_add_up():
    target, _, rows = series()
    found = regression.explain(Series(target, future_covariates=rows), HORIZON)
    explained = target - found.rest.target
    assert np.corrcoef(explained, np.array([0.7, -1.3]) @ rows[:, : len(target)])[0, 1] > 0.99
    assert found.rest.schema == (0, 0)


def test_past_covariate_acts_a_horizon_later():
    source = np.random.default_rng(1)
    cause = source.normal(size=300)
    target = source.normal(size=300) * 0.1
    target[HORIZON:] += cause[:-HORIZON]
    found = regression.explain(Series(target, past_covariates=cause[None]), HORIZON)
    np.testing.assert_allclose(found.ahead, cause[-HORIZON:], atol=0.3)
    short = regression.explain(Series(target[:20], past_covariates=cause[None, :20]), HORIZON)
    assert not short.weights.any()


def test_gaps_stay_gaps_and_cost_little():
    target, _, rows = series(points=400)
    holes, columns = target.copy(), rows.copy()
    holes[50:80] = np.nan
    columns[0, 200:210] = columns[1, -3:] = np.nan
    found = regression.explain(Series(holes, future_covariates=columns), HORIZON)
    assert np.isnan(found.rest.target).sum() == 30
    assert np.isfinite(found.ahead).all()
    expected = np.array([0.7, -1.3]) * rows[:, : len(target)].std(1) / target.std()
    np.testing.assert_allclose(found.weights, expected, rtol=0.15)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda rows: np.vstack([rows, rows, rows[:1] * 3 + 2]),  # collinear
        lambda rows: np.vstack([rows, np.full((2, rows.shape[1]), 7.0)]),  # constant
        lambda rows: np.vstack([rows, np.full((1, rows.shape[1]), np.nan)]),  # missing
        lambda rows: np.vstack([rows, np.r_[np.zeros(200), np.ones(HORIZON)][None]]),  # a holiday never seen
        lambda rows: np.vstack([rows, np.r_[np.random.default_rng(2).normal(size=200), np.full(HORIZON, 1e300)][None]]),
    ],
    ids=["collinear", "constant", "missing", "never seen", "huge ahead"],
)
def test_bad_covariates_beside_good_ones_do_no_harm(spoil):
    target, _, rows = series()
    alone = regression.explain(Series(target, future_covariates=rows), HORIZON)
    beside = regression.explain(Series(target, future_covariates=spoil(rows)), HORIZON)
    np.testing.assert_allclose(beside.ahead, alone.ahead, atol=0.15 * np.abs(alone.ahead).max())


@pytest.mark.parametrize("target", [np.full(50, 3.0), np.r_[np.full(45, np.nan), 1.0, 2, 3, 4, 5], np.arange(5.0)])
def test_too_little_to_fit_changes_nothing(target):
    rows = np.random.default_rng(0).normal(size=(2, len(target) + HORIZON))
    found = regression.explain(Series(target, future_covariates=rows), HORIZON)
    np.testing.assert_array_equal(found.rest.target, target)
    assert not found.ahead.any()


def test_only_the_newest_points_count():
    target, _, rows = series(points=regression.NEWEST + 2000, effects=(1.0,))
    target[:2000] -= 3 * rows[0, :2000]  # long ago the effect was another
    found = regression.explain(Series(target, future_covariates=rows), HORIZON)
    assert len(found.rest) == regression.NEWEST
    expected = np.std(rows[0, 2000 : len(target)]) / np.std(target[2000:])
    np.testing.assert_allclose(found.weights, [expected], rtol=0.1)
    assert np.std(found.rest.target) < np.std(target[2000:])


def noise(source, points):
    """Covariates that explain nothing: white, drifting, and random walks."""
    white, walk = source.normal(size=(2, points))
    return np.array([white, drifting(source, points, 0.95), np.cumsum(walk)])


@pytest.mark.slow
def test_forecasts_gain_from_what_drives_and_lose_nothing_to_noise():
    model = fracast.load(None, Runtime())

    def error(targets, later, rows):
        found = [
            regression.explain(Series(t, future_covariates=r), HORIZON) for t, r in zip(targets, rows, strict=True)
        ]
        made = scaling.forecast(model, [one.rest for one in found], HORIZON, [0.5])
        return np.mean([np.abs(m.median + f.ahead - y).mean() for m, f, y in zip(made, found, later, strict=True)])

    targets, later, rows = zip(*(series(seed, 192) for seed in range(24)), strict=True)
    without = error(targets, later, [row[:0] for row in rows])
    assert error(targets, later, rows) < 0.5 * without
    source = np.random.default_rng(99)
    assert error(targets, later, [noise(source, 192 + HORIZON) for _ in targets]) < 1.02 * without
