"""Distances of points without a model: against all pairs written out, and what each finds."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.numerics import shapes

RNG = np.random.default_rng(6)


def nearest(values: np.ndarray, length: int, levelled: bool) -> np.ndarray:
    return np.concatenate([part.nearest(points) for points, part in shapes.chunks(values, length, levelled)])


@pytest.mark.parametrize("levelled", [False, True])
def test_the_nearest_stretch_is_that_of_all_pairs(levelled):
    values = RNG.normal(size=60)
    every = np.lib.stride_tricks.sliding_window_view(values, 7)
    every = every - every.mean(axis=1, keepdims=True) if levelled else every
    pairs = [
        min(np.linalg.norm(one - other) for j, other in enumerate(every) if abs(i - j) > 7)
        for i, one in enumerate(every)
    ]
    np.testing.assert_allclose(nearest(values, 7, levelled), pairs, rtol=1e-9)


def test_parts_of_a_long_series_give_what_one_part_gives(monkeypatch):
    values = RNG.normal(size=900)
    whole = nearest(values, 8, True)
    monkeypatch.setattr(shapes, "CHUNK", 100)
    np.testing.assert_allclose(nearest(values, 8, True), whole, rtol=1e-9)
    monkeypatch.setattr(shapes, "REACH", 50)
    assert (nearest(values, 8, True) >= whole - 1e-9).all()


def test_the_distance_of_a_point_is_the_mean_over_its_stretches():
    distances = RNG.uniform(size=26)
    by_point = shapes.spread(30, 5, distances)
    for at in range(30):
        held = [distances[start] for start in range(26) if start <= at < start + 5]
        assert by_point[at] == pytest.approx(np.mean(held))


@pytest.mark.parametrize("what", ["flat", "noise", "phase"])
def test_a_changed_stretch_is_farthest_from_its_like(what):
    values = np.sin(2 * np.pi * np.arange(480) / 24) + RNG.normal(0, 0.1, 480)
    odd = slice(240, 264)
    values[odd] = {"flat": 1.0, "noise": values[odd] + RNG.normal(0, 1, 24), "phase": -values[odd]}[what]
    season = shapes.found_season(values)
    assert season == 24
    for length, levelled in shapes.kinds(480, season):
        assert 228 <= np.argmax(shapes.spread(480, length, nearest(values, length, levelled))) <= 276


def test_level_and_season_are_taken_off_and_gaps_stay():
    values = 0.05 * np.arange(240) + np.tile(RNG.normal(0, 5, 12), 20)
    values[100] += 3
    values[30] = np.nan
    left = shapes.rest(values, 12)
    assert np.argmax(np.nan_to_num(left)) == 100
    assert np.flatnonzero(np.isnan(left)).tolist() == [30]


def test_equal_stretches_and_short_series_have_no_distance():
    assert (nearest(np.tile(np.arange(12.0), 10), 12, True) == 0).all()
    assert shapes.kinds(11, 1) == ()
    assert (shapes.rest(np.ones(5), 1) == 0).all()
