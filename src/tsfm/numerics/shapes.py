"""What a series says about its own points, without a model: stretches without a like, and what its season leaves.

A discord is the stretch of points that is farthest from the most similar other one (Keogh, Lin and Fu 2005, "HOT
SAX"). Stretches as long as a season find a changed season, short ones a flat or a noisy part, and those whose level is
taken off do not mind a trend.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tsfm.numerics.backtest import season_of
from tsfm.numerics.scaling import fill
from tsfm.series import FloatArray

SHORT, USUAL, LONGEST = 8, 16, 64  # points of a stretch: the short one, the other where there is no season, and at most
REACH = 1024  # a stretch is compared with those that begin at most so many points before or after it
CHUNK = 1024  # stretches that are compared in one call
SMOOTH = 25  # points of the running median that is a series' level, at least; else two seasons
ROUNDING = 1e-5  # of the deviation of a series: what is nearer than that is equal


@dataclass(frozen=True)
class Stretches:
    """Consecutive stretches of one series, to be compared with those around them.

    Attributes:
        length: points of a stretch.
        levelled: its mean is taken off.
        start, stop: the stretches that are compared, by the point at which they begin.
    """

    length: int
    levelled: bool
    start: int
    stop: int

    def nearest(self, points: FloatArray) -> FloatArray:
        """For each stretch the distance from the most similar one that it does not overlap, shape (stop - start,)."""
        every = sliding_window_view(np.asarray(points, np.float64), self.length)
        if self.levelled:
            every = every - every.mean(axis=1, keepdims=True)
        squares = np.einsum("ij,ij->i", every, every)
        apart = squares[self.start : self.stop, None] + squares - 2 * (every[self.start : self.stop] @ every.T)
        lag = np.abs(np.arange(self.start, self.stop)[:, None] - np.arange(len(every)))
        apart[lag <= self.length] = np.inf
        least = apart.min(axis=1)
        # Subtracted squares of equal stretches leave rounding.
        least[np.isinf(least) | (least <= ROUNDING**2 * self.length * np.var(points))] = 0
        return np.asarray(np.sqrt(np.maximum(least, 0)))


def kinds(points: int, season: int) -> tuple[tuple[int, bool], ...]:
    """Length and ``levelled`` of the stretches that are compared; none in a series that is too short."""
    longest = points // 6
    if longest < 2:
        return ()
    usual = min(max(SHORT, min(season if season > 1 else USUAL, LONGEST)), longest)
    return (usual, False), (usual, True), (min(SHORT, longest), True)


def chunks(values: FloatArray, length: int, levelled: bool) -> list[tuple[FloatArray, Stretches]]:
    """All stretches of one kind in parts, each with the points that it needs; gaps are interpolated."""
    filled = fill(np.asarray(values, np.float64))
    count = len(filled) - length + 1
    found = []
    for start in range(0, count, CHUNK):
        stop = min(count, start + CHUNK)
        low, high = max(0, start - REACH), min(count, stop + REACH)
        found.append((filled[low : high + length - 1], Stretches(length, levelled, start - low, stop - low)))
    return found


def spread(points: int, length: int, distances: FloatArray) -> FloatArray:
    """Distances of stretches as distances of points, shape (points,): the mean over the stretches that hold a point."""
    total = np.concatenate(([0.0], np.cumsum(distances)))
    at = np.arange(points)
    stop, start = np.minimum(at + 1, len(distances)), np.maximum(at - length + 1, 0)
    return np.asarray(np.maximum(total[stop] - total[start], 0) / (stop - start))


def rest(values: FloatArray, season: int) -> FloatArray:
    """How far each point is from the running median and from its season's median, shape (n,); NaN stays NaN.

    The robust form of a classical seasonal decomposition: a median for each mean.
    """
    filled = fill(np.asarray(values, np.float64))
    count = len(filled)
    width = min(max(SMOOTH, 2 * season + 1), count // 2) | 1
    padded = np.pad(filled, width // 2, mode="reflect" if count > width // 2 else "edge")
    left = filled - np.median(sliding_window_view(padded, width), axis=1)
    if season > 1:
        for phase in range(season):
            left[phase::season] -= np.median(left[phase::season])
    left[np.abs(left) <= ROUNDING * np.std(filled)] = 0
    return np.where(np.isnan(values), np.nan, np.abs(left))


def found_season(values: FloatArray) -> int:
    """The season of ``backtest.season_of``; 1 where there is none, or where fewer than three fit."""
    season = season_of(values)
    return season if 3 * season <= len(values) else 1
