"""What a series says about its own points, without a model: odd stretches, still ones, and what its season leaves.

A discord is the stretch of points that is farthest from the most similar other one (Keogh, Lin and Fu 2005, "HOT
SAX"). Stretches as long as a season find a changed season, short ones a shift or a noisy part; their level is taken
off, so that a trend does not matter. A sensor that stands still has a like elsewhere, so stillness is looked for too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tsfm.numerics.backtest import season_of
from tsfm.numerics.scaling import fill
from tsfm.series import FloatArray

SHORT = 8  # points of the short stretch
SEASONAL = 12, 64  # points of the other one, which is as long as a season, at least and at most
USUAL = 16  # its points where there is no season
REACH = 1024  # a stretch is compared with those that begin at most so many points before or after it
PAIRS = 2_000_000  # of stretches that are compared in one call, about; 20 ms
SMOOTH = 25  # points of the running median that is a series' level, at least; else two seasons
ROUNDING = 1e-5  # of the deviation of a series: what is nearer than that is equal


@dataclass(frozen=True)
class Lags:
    """All pairs of stretches of one series that begin from ``start`` to ``stop`` - 1 points apart.

    Attributes:
        lengths: points of a stretch.
    """

    lengths: tuple[int, ...]
    start: int
    stop: int

    def nearest(self, points: FloatArray) -> FloatArray:
        """The least squared distance of the stretch that begins at each point from one that it does not overlap.

        All stretches that are equally far apart are compared at once, by sums of the differences between the series
        and itself, so many points later (the diagonals of Zhu et al. 2016, "STOMP"). The mean of each is taken off.

        Returns:
            shape (lengths, n); infinite where there is no such pair.
        """
        values = np.asarray(points, np.float64)
        least = np.full((len(self.lengths), len(values)), np.inf)
        for lag in range(self.start, min(self.stop, len(values))):
            apart = values[lag:] - values[:-lag]
            sums, squares = _summed(apart), _summed(apart**2)
            for row, length in zip(least, self.lengths, strict=True):
                if length < lag and length <= len(apart):
                    square = squares[length:] - squares[:-length] - (sums[length:] - sums[:-length]) ** 2 / length
                    for side in (row[: len(square)], row[lag : lag + len(square)]):
                        np.minimum(side, square, out=side)
        return least


def lengths(points: int, season: int) -> tuple[int, ...]:
    """Points of the stretches that are compared; none in a series that is too short."""
    longest = points // 6
    if longest < 2:
        return ()
    least, most = SEASONAL
    usual = max(least, min(season if season > 1 else USUAL, most))
    return min(usual, longest), min(SHORT, longest)


def parts(points: int, season: int) -> list[Lags]:
    """What is compared in a series, in parts that take about as long each."""
    compared = lengths(points, season)
    each = max(1, PAIRS // max(1, points))
    stop = min(points, REACH + 1)
    return [Lags(compared, lag, min(lag + each, stop)) for lag in range(1, stop, each)] if compared else []


def distances(values: FloatArray, season: int, found: Sequence[FloatArray]) -> list[FloatArray]:
    """How far the stretches around each point are from their likes, shape (n,) for each length.

    Args:
        values: shape (n,), without gaps.
        found: of ``Lags.nearest``, for each of the ``parts``.
    """
    if not found:
        return []
    equal = ROUNDING**2 * float(np.var(values))
    by_length = []
    for row, length in zip(np.minimum.reduce(list(found)), lengths(len(values), season), strict=True):
        least = row[: len(values) - length + 1]
        least[np.isinf(least) | (least <= equal * length)] = 0
        by_length.append(spread(len(values), length, np.sqrt(least)))
    return by_length


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


def still(values: FloatArray) -> FloatArray:
    """How much less than usual the series moves around each point, shape (n,); NaN stays NaN.

    It is the logarithm of the usual deviation within a short stretch over that of the stillest one that holds the
    point, at least 0. A stretch with a gap says nothing.
    """
    filled, count = fill(np.asarray(values, np.float64)), len(values)
    length = min(SHORT, count // 6)
    if length < 2:
        return np.where(np.isnan(values), np.nan, 0.0)
    moves = sliding_window_view(filled, length).std(axis=1)
    usual = float(np.median(moves)) or float(moves.mean())
    less = np.log(np.maximum(usual / np.maximum(moves, ROUNDING * np.std(filled) or 1.0), 1))
    less[sliding_window_view(np.isnan(values), length).any(axis=1)] = 0
    stillest = sliding_window_view(np.pad(less, length - 1), length).max(axis=1)
    return np.where(np.isnan(values), np.nan, stillest)


def found_season(values: FloatArray) -> int:
    """The season of ``backtest.season_of``; 1 where there is none, or where fewer than three fit."""
    season = season_of(values)
    return season if 3 * season <= len(values) else 1


def _summed(values: FloatArray) -> FloatArray:
    """The sum of the values before each, and of all."""
    total = np.zeros(len(values) + 1)
    np.cumsum(values, out=total[1:])
    return total
