"""Scores of forecasts against GluonTS and against plain sums, and the seasonal naive forecast beside them."""

import math

import numpy as np
import pytest
from gluonts.evaluation.metrics import abs_target_sum, calculate_seasonal_error, mase, quantile_loss

from tsfm.numerics import backtest
from tsfm.series import Forecast

RNG = np.random.default_rng(5)
LEVELS = (0.1, 0.5, 0.9)


def window(horizon=12, points=60):
    history, actual = RNG.normal(20, 4, points), RNG.normal(20, 4, horizon)
    quantiles = np.sort(RNG.normal(20, 4, (3, horizon)), axis=0)
    return history, actual, Forecast(quantiles[1], quantiles)


def plain_pinball(actual, forecast, level):
    return sum(2 * max(level * (y - q), (level - 1) * (y - q)) for y, q in zip(actual, forecast, strict=True))


def test_a_window_is_scored_as_the_definitions_say():
    history, actual, forecast = window()
    score = backtest.score(history, actual, forecast, LEVELS, 7)
    steps = [history[at] - history[at - 7] for at in range(7, len(history))]
    error = actual - forecast.median
    assert score.mase == pytest.approx(np.mean(np.abs(error)) / np.mean(np.abs(steps)))
    assert score.rmsse == pytest.approx(math.sqrt(np.mean(error**2) / np.mean(np.square(steps))))
    expected = [plain_pinball(actual, row, level) for row, level in zip(forecast.quantiles, LEVELS, strict=True)]
    np.testing.assert_allclose(score.loss, expected)
    assert score.below.tolist() == [sum(actual <= row) for row in forecast.quantiles]


def test_the_weighted_quantile_loss_is_that_of_gluonts():
    windows = [window() for _ in range(4)]
    scores = [backtest.score(*one, LEVELS, 1) for one in windows]
    found = backtest.metrics([scores[:2], scores[2:]], LEVELS)
    weight = sum(abs_target_sum(actual) for _, actual, _ in windows)
    theirs = [
        sum(quantile_loss(actual, forecast.quantiles[at], level) for _, actual, forecast in windows) / weight
        for at, level in enumerate(LEVELS)
    ]
    assert found["wql"] == pytest.approx(np.mean(theirs))


def test_the_scale_of_mase_is_that_of_gluonts():
    history, actual, forecast = window()
    error = calculate_seasonal_error(history, "h", 7)
    assert backtest.score(history, actual, forecast, LEVELS, 7).mase == pytest.approx(
        mase(actual, forecast.median, error)
    )


def test_missing_points_are_left_out():
    history, actual, forecast = window()
    gappy = actual.copy()
    gappy[3:6] = np.nan
    seen = ~np.isnan(gappy)
    part = Forecast(forecast.median[seen], forecast.quantiles[:, seen])
    ours, theirs = (
        backtest.score(history, gappy, forecast, LEVELS, 1),
        backtest.score(history, actual[seen], part, LEVELS, 1),
    )
    assert (ours.mase, ours.weight, ours.points) == (theirs.mase, theirs.weight, theirs.points)
    nothing = backtest.score(history, np.full(12, np.nan), forecast, LEVELS, 1)
    assert backtest.metrics([[nothing]], LEVELS) == {"mase": None, "rmsse": None, "wql": None, "coverage": {}}


def test_a_constant_history_has_no_scale_and_is_left_out_of_the_mean():
    _, actual, forecast = window()
    constant = backtest.score(np.ones(30), actual, forecast, LEVELS, 1)
    moving = backtest.score(*window(), LEVELS, 1)
    assert math.isnan(constant.mase)
    assert backtest.metrics([[constant], [moving]], LEVELS)["mase"] == moving.mase
    assert backtest.metrics([[constant]], LEVELS)["mase"] is None


def test_without_levels_there_is_no_quantile_loss():
    history, actual, forecast = window()
    score = backtest.score(history, actual, Forecast(forecast.median, np.empty((0, 12))), (), 1)
    found = backtest.metrics([[score]], ())
    assert (found["wql"], found["coverage"]) == (None, {})
    assert found["mase"] == score.mase


def test_the_seasonal_naive_forecast_repeats_the_last_season_and_covers_what_it_promises():
    season, hits = 12, []
    for _ in range(200):
        wave = 20 + 5 * np.sin(2 * np.pi * np.arange(132) / season) + RNG.normal(0, 1, 132)
        made = backtest.seasonal_naive(wave[:120], 12, (0.1, 0.9), season)
        np.testing.assert_array_equal(made.median, wave[108:120])
        hits.append((wave[120:] >= made.quantiles[0]) & (wave[120:] <= made.quantiles[1]))
    assert np.mean(hits) == pytest.approx(0.8, abs=0.03)


def test_a_history_shorter_than_a_season_is_held():
    made = backtest.seasonal_naive(np.array([1.0, np.nan, 3.0, np.nan]), 3, (0.9,), 12)
    assert made.median.tolist() == [3, 3, 3]


@pytest.mark.parametrize("season", [4, 7, 12, 24, 52])
@pytest.mark.parametrize("trend", [0.0, 0.5])
def test_the_season_is_found(season, trend):
    draw, steps = np.random.default_rng(season), np.arange(season * 6)
    shape = draw.normal(0, 3, season)
    series = 1e6 + np.resize(shape, len(steps)) + trend * steps + draw.normal(0, 0.5, len(steps))
    series[season + 1] = np.nan
    assert backtest.season_of(series) == season


@pytest.mark.parametrize(
    "series",
    [
        np.ones(50),
        np.arange(50.0),
        np.cumsum(RNG.normal(size=300)),
        RNG.normal(size=300),
        np.ones(3),
        np.full(9, np.nan),
    ],
    ids=["constant", "line", "walk", "noise", "short", "missing"],
)
def test_no_season_is_one_point(series):
    assert backtest.season_of(series) == 1
