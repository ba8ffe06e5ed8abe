"""Distances of points without a model: against all pairs written out, and what each finds."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.numerics import shapes
from tsfm.numerics.anomaly import Tail

RNG = np.random.default_rng(6)


def nearest(values: np.ndarray, length: int) -> np.ndarray:
    """Of the stretches of one length, from the one call that compares all."""
    squares = shapes.Lags((length,), 1, len(values)).nearest(values)[0, : len(values) - length + 1]
    return np.sqrt(np.maximum(squares, 0))


def distances(values: np.ndarray, season: int) -> list[np.ndarray]:
    return shapes.distances(values, season, [part.nearest(values) for part in shapes.parts(len(values), season)])


def test_the_nearest_stretch_is_that_of_all_pairs():
    values = RNG.normal(size=60)
    every = np.lib.stride_tricks.sliding_window_view(values, 7)
    every = every - every.mean(axis=1, keepdims=True)
    pairs = [
        min(np.linalg.norm(one - other) for j, other in enumerate(every) if abs(i - j) > 7)
        for i, one in enumerate(every)
    ]
    np.testing.assert_allclose(nearest(values, 7), pairs, rtol=1e-9)


def test_parts_of_the_lags_give_what_one_part_gives(monkeypatch):
    values = RNG.normal(size=900)
    assert len(shapes.parts(900, 24)) == 1
    whole = distances(values, 24)
    monkeypatch.setattr(shapes, "PAIRS", 100_000)
    assert len(shapes.parts(900, 24)) == 9
    for one, other in zip(distances(values, 24), whole, strict=True):
        np.testing.assert_array_equal(one, other)
    monkeypatch.setattr(shapes, "REACH", 50)
    assert all((one >= other - 1e-9).all() for one, other in zip(distances(values, 24), whole, strict=True))


def test_the_distance_of_a_point_is_the_mean_over_its_stretches():
    distances = RNG.uniform(size=26)
    by_point = shapes.spread(30, 5, distances)
    for at in range(30):
        held = [distances[start] for start in range(26) if start <= at < start + 5]
        assert by_point[at] == pytest.approx(np.mean(held))


@pytest.mark.parametrize("what", ["flat", "shift", "noise", "phase"])
def test_a_changed_stretch_is_farthest_from_its_like(what):
    """A short stretch of a shifted phase may be like one of another time of the season."""
    values = np.sin(2 * np.pi * np.arange(480) / 24) + RNG.normal(0, 0.1, 480)
    odd = slice(240, 264)
    changed = {
        "flat": 1.0,
        "shift": values[odd] + 2,
        "noise": values[odd] + RNG.normal(0, 1, 24),
        "phase": -values[odd],
    }
    values[odd] = changed[what]
    season = shapes.found_season(values)
    assert season == 24
    for found in distances(values, season)[: 1 if what == "phase" else 2]:
        assert 228 <= np.argmax(found) <= 276


def test_still_points_are_those_of_a_flat_and_of_no_gap():
    values = np.sin(2 * np.pi * np.arange(480) / 24) + RNG.normal(0, 0.1, 480)
    values[100:112] = values[99]
    values[300:320] = np.nan
    values[299] = values[320]  # the interpolated gap does not move
    found = shapes.still(values)
    assert np.flatnonzero(found > 5).tolist() == list(range(99, 112))
    assert np.flatnonzero(np.isnan(found)).tolist() == list(range(300, 320))
    assert shapes.still(3 + 1e-9 * values)[:99] == pytest.approx(found[:99], abs=1e-4)


@pytest.mark.parametrize("values", [np.ones(60), np.repeat(RNG.normal(size=20), 12), np.ones(7)])
def test_standing_still_is_ordinary_in_a_series_that_often_does(values):
    found = shapes.still(values)
    assert (Tail.of(found).surprise(found) < 1).all()


def test_level_and_season_are_taken_off_and_gaps_stay():
    values = 0.05 * np.arange(240) + np.tile(RNG.normal(0, 5, 12), 20)
    values[100] += 3
    values[30] = np.nan
    left = shapes.rest(values, 12)
    assert np.argmax(np.nan_to_num(left)) == 100
    assert np.flatnonzero(np.isnan(left)).tolist() == [30]


def test_equal_stretches_and_short_series_have_no_distance():
    assert all((found == 0).all() for found in distances(np.tile(np.arange(12.0), 10), 12))
    assert shapes.parts(11, 1) == distances(np.ones(11), 1) == []
    assert (shapes.rest(np.ones(5), 1) == 0).all()
