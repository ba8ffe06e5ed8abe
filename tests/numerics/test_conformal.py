"""Intervals hold what they promise: on real series, beyond the last lead, and from very few points."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
import statsmodels.datasets as real
from bench import causal, goals, made

from tsfm.numerics import conformal, scaling
from tsfm.series import Forecast, Series

pytestmark = pytest.mark.slow

LEVELS = [0.25, 0.75, 0.1, 0.9, 0.025, 0.975]
PROMISED = np.array([0.5, 0.8, 0.95])


def real_series() -> dict[str, np.ndarray]:
    macro = real.macrodata.load_pandas().data
    series = {name: macro[name] for name in macro.columns[2:]}
    series["co2"] = real.co2.load_pandas().data["co2"].resample("W").mean().ffill()
    series["sunspots"] = real.sunspots.load_pandas().data["SUNACTIVITY"]
    series["elnino"] = real.elnino.load_pandas().data.set_index("YEAR").to_numpy().ravel()
    series["nile"] = real.nile.load_pandas().data["volume"]
    return {name: np.asarray(values, np.float64) for name, values in series.items()}


def persistence(context: np.ndarray, leads: int, horizon: int, levels: list[float]) -> np.ndarray:
    """Quantiles around the last value, from what it would have got wrong before."""
    origins = np.arange(len(context))
    past = np.repeat(context[:, None], leads, 1)
    return conformal.intervals(context, origins, past, np.full(horizon, context[-1]), levels)


def coverage(values: np.ndarray, leads: int, horizon: int, points: int, origins: int = 20) -> np.ndarray:
    """Part of the following points inside, for each of PROMISED, over rolling origins."""
    inside = []
    for now in np.linspace(points, len(values) - horizon, origins).astype(int):
        rows = persistence(values[now - points : now], leads, horizon, LEVELS)
        ahead = values[now : now + horizon]
        inside.append([(rows[i] <= ahead) & (ahead <= rows[i + 1]) for i in (0, 2, 4)])
    return np.mean(inside, axis=(0, 2))


def test_persistence_covers_real_series_as_often_as_promised():
    rows = []
    for values in real_series().values():
        horizon = 24 if len(values) > 400 else 12
        rows.append(coverage(values, horizon, horizon, min(512, len(values) // 2)))
    np.testing.assert_allclose(np.mean(rows, 0), PROMISED, atol=0.05)


def test_stationary_series_are_covered_as_often_as_promised():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=3000)
    slow = np.zeros(3000)
    for i in range(1, 3000):
        slow[i] = 0.9 * slow[i - 1] + noise[i]
    sine = 5 * np.sin(np.arange(3000) / 12) + noise
    for values in (slow, sine):
        np.testing.assert_allclose(coverage(values, 24, 24, 512, 60), PROMISED, atol=0.05)


@pytest.mark.parametrize("leads", [8, 32])
def test_leads_beyond_the_models_grow_as_a_random_walk_does(leads):
    rng = np.random.default_rng(1)
    rows = [coverage(rng.normal(size=1500).cumsum(), leads, 128, 512) for _ in range(12)]
    np.testing.assert_allclose(np.mean(rows, 0), PROMISED, atol=0.08)


def test_leads_beyond_the_models_stay_level_where_errors_do():
    rows = persistence(np.random.default_rng(2).normal(size=512), 16, 200, [0.1, 0.9])
    width = rows[1] - rows[0]
    assert width[-1] < 1.6 * width[15]


@pytest.mark.parametrize("points", [2, 3, 5, 8, 9, 10, 20])
def test_a_short_history_has_a_finite_interval_that_widens_with_the_level(points):
    context = np.random.default_rng(points).normal(size=points)
    rows = persistence(context, 12, 40, sorted(LEVELS))
    assert np.isfinite(rows).all()
    assert (np.diff(rows, axis=0) >= 0).all()
    assert (rows[-1] > rows[0]).all()


def test_a_short_history_has_the_coverage_that_it_promises_at_every_lead():
    for key, share in made.short(repeats=200).items():
        assert share >= 0.89, key  # standard error 0.015; what levels off early is covered too often, not too seldom


def walks(points: int, count: int = 100) -> np.ndarray:
    return np.random.default_rng(points).normal(size=(count, points)).cumsum(1)


@pytest.mark.parametrize("points", [3, 5, 7, 10, 12, 20, 30, 50])
def test_widths_grow_with_the_lead_however_short_the_history(points):
    rows = np.array([persistence(walk, 48, 48, [0.1, 0.9]) for walk in walks(points)])
    width = np.exp(np.log(rows[:, 1] - rows[:, 0]).mean(0))
    assert 5 < width[47] / width[0] < 14  # 6.9 is a random walk's
    assert (width > 0.8 * 2 * 1.28 * np.sqrt(np.arange(1, 49))).all()


def normal_coverage(points: int, level: float, cases: int = 600) -> float:
    """Mean part of the standard normal inside the interval that ``points`` residuals of it give."""
    rng, tail = np.random.default_rng(points), (1 - level) / 2
    found = []
    for _ in range(cases):
        history, nothing = rng.normal(size=points + 1), np.zeros((points, 1))
        rows = conformal.intervals(history, np.arange(points), nothing, np.zeros(1), [tail, 1 - tail])
        found.append(NormalDist().cdf(rows[1, 0]) - NormalDist().cdf(rows[0, 0]))
    return float(np.mean(found))


@pytest.mark.parametrize("points", [8, 10, 15])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_few_residuals_are_widened_to_what_is_promised(points, level):
    assert normal_coverage(points, level) == pytest.approx(level, abs=0.025)


def test_recent_residuals_count_more():
    model = np.zeros((400, 1))
    history = np.where(np.arange(400) < 240, -1.0, 1.0)  # errors of one size: only their age tells them apart
    rows = conformal.intervals(history, np.arange(400), model, np.zeros(1), [0.45, 0.55])
    np.testing.assert_allclose(rows, 1, atol=0.1)


def test_residuals_follow_the_scale_that_errors_have_now():
    for key, share in made.variance(repeats=240).items():
        assert goals.of(key).met(share), key


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_origins_far_apart_follow_it_too(factor):
    origins, inside = np.arange(511, 95, -24)[::-1], []  # a patch model's: few, of 24 new errors each
    for noise in np.random.default_rng(13).normal(size=(200, 512 + 24)):
        noise[410:] *= factor
        history, ahead = noise[:512], noise[512:]
        rows = conformal.intervals(history, origins, np.zeros((len(origins), 96)), np.zeros(24), [0.1, 0.9])
        inside.append((rows[0] <= ahead) & (ahead <= rows[1]))
    assert np.mean(inside) == pytest.approx(0.8, abs=0.07)


def test_noise_of_one_size_is_left_as_it_is():
    at, nothing = np.arange(300), np.zeros((300, 1))
    noise = np.random.default_rng(9).normal(size=(200, 300))
    rows = np.array([conformal.intervals(row, at, nothing, np.zeros(1), [0.1, 0.9])[:, 0] for row in noise])
    np.testing.assert_allclose(rows.mean(0), [-1.28, 1.28], atol=0.05)
    # 0.055 comes of 300 points; to follow a scale that does not move would bring it to 0.10.
    assert np.log(rows[:, 1] - rows[:, 0]).std() < 0.09


def test_what_levels_off_is_measured_further_than_what_does_not():
    rng = np.random.default_rng(10)
    rows = [coverage(rng.normal(size=1200), 84, 84, 452) for _ in range(6)]
    np.testing.assert_allclose(np.mean(rows, 0), PROMISED, atol=0.06)


def test_a_filled_point_is_neither_aim_nor_origin():
    rng = np.random.default_rng(11)
    history, filled = rng.normal(size=300).cumsum(), rng.random(300) < 0.4
    filled[-1] = False
    past = np.repeat(history[:, None], 12, 1)
    expected = conformal.intervals(history, np.arange(300), past, past[-1], LEVELS, filled)
    history[filled], past[filled] = 1e6, -1e6
    given = conformal.intervals(history, np.arange(300), past, past[-1], LEVELS, filled)
    np.testing.assert_array_equal(given, expected)


def test_a_history_with_gaps_is_covered_as_often_as_promised():
    for key, share in made.gaps(repeats=240).items():
        assert goals.of(key).met(share), key


@pytest.mark.parametrize("every", [2, 12])
@pytest.mark.parametrize("horizon", [1, 24])
def test_leads_that_always_end_on_a_gap_lie_between_the_others(every, horizon):
    inside = []
    for values in np.random.default_rng(every).normal(size=(60, 500 + horizon)).cumsum(1):
        filled = np.arange(500) % every != 499 % every
        past = np.repeat(values[:500, None], horizon, 1)
        rows = conformal.intervals(values[:500], np.arange(500), past, past[-1], [0.1, 0.9], filled)
        inside.append((rows[0] <= values[500:]) & (values[500:] <= rows[1]))
    assert np.mean(inside) == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize("points", [2, 3, 7])
def test_few_observed_points_among_many_filled_ones_have_an_interval(points):
    filled = np.ones(100, bool)
    filled[np.linspace(0, 99, points).astype(int)] = False
    history = np.interp(np.arange(100), np.flatnonzero(~filled), np.random.default_rng(points).normal(size=points))
    rows = conformal.intervals(history, np.arange(100), np.repeat(history[:, None], 5, 1), np.zeros(9), LEVELS, filled)
    assert np.isfinite(rows).all()
    assert (rows[1::2] > rows[::2]).all()


@pytest.mark.parametrize("share", [0.8, 0.95])
def test_an_interval_without_width_holds_its_atom(share):
    rng = np.random.default_rng(12)
    counts = np.where(rng.random((30, 200)) < share, 0.0, rng.poisson(7, (30, 200))) + 3.7
    counts[:, -1] = 3.7
    for row in counts:
        past = np.repeat(row[:, None], 4, 1)
        bounds = conformal.intervals(row, np.arange(200), past, past[-1], [0.45, 0.55])
        np.testing.assert_array_equal(bounds, 3.7)
    for answer in scaling.forecast(causal.Persistence(), [Series(row) for row in counts], 4, LEVELS):
        assert (answer.quantiles[::2] <= 3.7).all()
        assert (answer.quantiles[1::2] >= 3.7).all()


@pytest.mark.parametrize("points", [12, 60, 400])
def test_quantiles_rise_with_the_level(points):
    levels = np.linspace(0.01, 0.99, 49)
    rows = persistence(walks(points, 1)[0], 24, 48, list(levels[levels != 0.5]))
    assert (np.diff(rows, axis=0) >= 0).all()


@pytest.mark.parametrize("points", [2, 12, 60, 400])
def test_another_unit_changes_the_unit_alone(points):
    walk = walks(points, 1)[0]
    rows = persistence(walk, 24, 48, LEVELS)
    np.testing.assert_allclose(persistence(walk * 1e-6 + 5, 24, 48, LEVELS), rows * 1e-6 + 5, rtol=1e-9)
    np.testing.assert_allclose(persistence(-walk, 24, 48, LEVELS)[::2], -rows[1::2], rtol=1e-6, atol=1e-9)


def test_levels_beyond_the_outermost_residual_go_on_widening():
    rows = persistence(np.random.default_rng(3).normal(size=60), 4, 4, [0.99, 0.999, 0.9999])
    assert (np.diff(rows, axis=0) > 0.1).all()


def test_the_interval_lies_around_the_forecast_that_its_residuals_belong_to():
    context = np.random.default_rng(5).normal(size=400)
    past = np.zeros((400, 4))  # of a good model, whose point forecast was made in another, worse way
    rows = conformal.intervals(context, np.arange(400), past, np.full(6, 3.0), [0.1, 0.9])
    np.testing.assert_allclose(rows[:, :4].mean(0), 0, atol=0.3)
    np.testing.assert_allclose(rows[:, 4:].mean(0), 3, atol=0.3)


def given_out(past: float, point: float, leads: int = 4, horizon: int = 4) -> np.ndarray:
    """Bounds at LEVELS on noise for a model that forecasts ``past`` at every point, once ``point`` is put inside."""
    context = np.random.default_rng(6).normal(size=4000)
    forecasts = np.full((4000, leads), past)
    given = np.full(horizon, point)
    rows = conformal.intervals(context, np.arange(4000), forecasts, given, LEVELS)
    return scaling.restore(Forecast(given, rows), scaling.Scale(0, 1), LEVELS).quantiles


def shares(rows: np.ndarray) -> np.ndarray:
    """Part of the standard normal inside the bounds of each of PROMISED; shape (3, leads)."""
    below = np.vectorize(NormalDist().cdf)(rows)
    return below[1::2] - below[::2]


@pytest.mark.parametrize("point", [-9.0, -1.5, -0.8, 0.3, 0.7, 1.1, 2.5])
def test_an_interval_stretched_to_another_forecast_holds_no_more_than_promised(point):
    rows = given_out(0.0, point)
    assert (rows[::2] <= point).all()
    assert (point <= rows[1::2]).all()
    np.testing.assert_allclose(shares(rows), np.tile(PROMISED[:, None], 4), atol=0.03)


def test_what_a_bias_adds_to_the_interval_stays_as_a_margin():
    np.testing.assert_allclose(shares(given_out(-9.0, -9.0)), np.tile((1 + PROMISED[:, None]) / 2, 4), atol=0.03)
    np.testing.assert_allclose(given_out(-9.0, -9.5)[1::2], given_out(-9.0, -9.0)[1::2])


def test_leads_beyond_the_models_are_not_narrowed_for_another_forecast():
    np.testing.assert_allclose(np.diff(given_out(0.0, 1.0, horizon=9)[:2, 4:], axis=0), 2 * 0.6745, atol=0.15)


def test_a_bias_shifts_the_interval_and_not_the_forecast():
    rng = np.random.default_rng(4)
    context = rng.normal(size=300) * 0.1
    past = context[:, None] * 0 - 5.0  # a model that is always 5 too low
    rows = conformal.intervals(context, np.arange(300), past, np.full(1, -5.0), [0.1, 0.5, 0.9])
    assert rows[0, 0] > -1
    assert rows[1, 0] == -5.0
    assert rows[2, 0] < 1


def test_nothing_is_computed_where_only_the_forecast_is_asked():
    assert not conformal.needed([])
    assert not conformal.needed([0.5])
    assert conformal.needed([0.5, 0.9])
    point = np.arange(3.0)
    nothing = np.empty((0, 1))
    origins = np.empty(0, np.int64)
    np.testing.assert_array_equal(conformal.intervals(point, origins, nothing, point, [0.5]), point[None])
    assert conformal.intervals(point, origins, nothing, point, []).shape == (0, 3)
