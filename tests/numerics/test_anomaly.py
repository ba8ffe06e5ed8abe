"""Scores of points: calibrated on ordinary ones, robust to the anomalies themselves, one-sided at the edges."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.numerics import anomaly
from tsfm.numerics.anomaly import BLOCK, FIRST, Tail

RNG = np.random.default_rng(5)


def quantiles(points: int, median: float = 0.0, spread: float = 1.0) -> np.ndarray:
    """Quantiles of normal forecasts, unknown before FIRST."""
    rows = median + spread * np.array([-1.2816, 0, 1.2816])[:, None] * np.ones(points)
    rows[:, :FIRST] = np.nan
    return rows


def scores(values: np.ndarray) -> np.ndarray:
    before = quantiles(len(values))
    return anomaly.judge(values, before, before[:, ::-1], [], 0.99).score


@pytest.mark.parametrize("kind", ["normal", "exponential", "heavy"])
def test_a_level_flags_at_most_about_the_share_of_ordinary_points_that_it_promises(kind):
    """Real series have heavier tails than these; for them the benchmark holds the share from below too."""
    make = {"normal": RNG.normal, "exponential": RNG.exponential, "heavy": lambda size: RNG.standard_t(6, size=size)}
    found = np.concatenate([scores(make[kind](size=1000))[FIRST:] for _ in range(40)])
    for level, least in ((0.9, 0.8), (0.99, 0.3), (0.999, 0.0)):
        share = float(np.mean(found > level)) / (1 - level)
        assert least <= share <= 1.5, (level, share)


def test_anomalies_do_not_hide_one_another():
    values = RNG.normal(size=600)
    odd = np.arange(100, 600, 25)  # one point in thirty
    values[odd] += 12
    found = scores(values)
    assert (found[odd] > 0.99).all()
    assert np.mean(np.delete(found, odd)[FIRST:] > 0.99) < 0.03


def test_points_without_a_forecast_and_missing_points_are_not_judged():
    values = RNG.normal(size=300)
    values[50:60] = np.nan
    found = anomaly.judge(values, quantiles(300), quantiles(300)[:, ::-1], [], 0.99)
    assert np.flatnonzero(np.isnan(found.score)).tolist() == [*range(FIRST), *range(50, 60)]
    assert np.isnan(found.expected[:FIRST]).all()


def test_the_newest_points_are_judged_from_before_alone():
    values = RNG.normal(size=300)
    values[-1] = 15.0
    assert scores(values)[-1] > 0.999


def test_the_interval_holds_the_share_that_the_level_says():
    values = RNG.normal(0, 3, 4000)  # three times as wide as the forecasts say
    found = anomaly.judge(values, quantiles(4000), quantiles(4000)[:, ::-1], [], 0.9)
    inside = (found.lower <= values) & (values <= found.upper)
    assert 0.88 <= np.mean(inside[FIRST:]) <= 0.92


def test_a_series_that_never_surprises_has_no_anomaly():
    values = np.zeros(100)
    rows = quantiles(100, spread=0.0)
    found = anomaly.judge(values, rows, rows[:, ::-1], [np.zeros(100)], 0.99)
    assert (found.score[FIRST:] == 0).all()
    values[60] = 1e-9
    assert anomaly.judge(values, rows, rows[:, ::-1], [], 0.99).score[60] > 0.999


def test_the_distance_at_a_level_is_the_inverse_of_its_probability():
    tail = Tail.of(np.abs(RNG.normal(size=2000)))
    for level in (0.95, 0.99, 0.9999):
        assert tail.surprise(np.array([tail.distance(level)])) == pytest.approx(-np.log(1 - level))
    assert Tail.of(np.full(3, np.nan)).distance(0.99) == 0


def test_forecasts_begin_behind_the_first_observed_points():
    values = np.ones(200)
    assert anomaly.origins(values) == list(range(FIRST, 200, BLOCK))
    values[:10] = np.nan
    assert anomaly.origins(values)[0] == FIRST + 10
    assert anomaly.origins(values, 100)[0] == 100
    assert anomaly.origins(np.full(30, np.nan)) == []


def test_blocks_are_put_in_a_row_and_unknown_ones_left_out():
    made = [np.full((3, BLOCK), 1.0), None, np.full((3, BLOCK), 3.0)]
    row = anomaly.in_a_row(16 + 2 * BLOCK + 5, [16, 16 + BLOCK, 16 + 2 * BLOCK], made)[1]
    assert np.isnan(row[:16]).all()
    assert np.isnan(row[16 + BLOCK : 16 + 2 * BLOCK]).all()
    assert row[16] == 1
    assert row[-5:].tolist() == [3] * 5


def test_a_reconstruction_gets_the_spread_of_its_errors():
    values = RNG.normal(0, 2, 5000)
    values[0] = np.nan
    low, middle, high = anomaly.around(values, np.zeros(5000))
    assert (middle == 0).all()
    assert high[0] == -low[0] == pytest.approx(2 * 1.2816, rel=0.06)
