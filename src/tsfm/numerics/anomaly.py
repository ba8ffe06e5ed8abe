"""Judge the points of a series: how unlikely a model's forecasts and the series' own shapes make each of them.

Several distances of each point are known: from the forecasts made before it and, in reversed time, after it, in
predictive deviations; and those of ``tsfm.numerics.shapes``. Each becomes a probability on the scale of the series
itself (``Tail``), they are combined by Fisher's method, and the sum is calibrated once more, since its parts depend on
one another. So a level of 0.99 flags about one of a hundred ordinary points, whatever the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from tsfm.numerics.shapes import ROUNDING
from tsfm.series import FloatArray

BLOCK = 48  # points from one forecast to the next; fewer cost more, and find spikes a little better
FIRST = 16  # observed points before the first forecast; they are not judged
CONTEXT = 512  # points that a forecast sees: more cost more, and add little 48 steps ahead
LEVELS = (0.1, 0.5, 0.9)  # of the forecasts
REFERENCE = 512  # points before the newest ones that say what is ordinary, where only the newest are judged
NARROWEST = 0.25  # a predictive deviation counts at least so much of the usual one
BODY = 0.9  # share of the points below which probabilities are counted; above, they follow a fitted tail
POWER = 0.6  # tails fall exponentially in this power of a distance
FEWEST = 4  # distances in the tail for which it is fitted
DEVIATION = NormalDist().inv_cdf(LEVELS[-1])
TO_DEVIATION = 1 / NormalDist().inv_cdf(0.75)  # from a median absolute deviation


@dataclass(frozen=True)
class Judged:
    """The judgement of each point; shapes (n,), NaN where it is not judged.

    Attributes:
        score: the level up to which the point is an anomaly, from 0 to 1: at 0.99 about one of a hundred ordinary
            points looks as unlikely.
        expected: the median forecast from the points before.
        lower, upper: the interval of that forecast that holds a share ``level`` of the ordinary points.
    """

    score: FloatArray
    expected: FloatArray
    lower: FloatArray
    upper: FloatArray


@dataclass(frozen=True)
class Tail:
    """The distribution of ordinary distances: counted up to its 0.9 quantile, and an exponential tail above.

    The mean of the tail is the maximum likelihood of its lower half, the upper half censored (Epstein and Sobel
    1953), so that anomalies, up to one point in twenty, do not widen it.

    Attributes:
        body: the distances to the power POWER, ascending.
        start: where the tail begins.
        mean: of what is above the start.
    """

    body: FloatArray
    start: float
    mean: float

    @classmethod
    def of(cls, distances: FloatArray) -> Tail:
        """Fit the tail to distances of at least 0; NaN is left out."""
        body = np.sort(distances[~np.isnan(distances)] ** POWER)
        if not body.size:
            return cls(body, 0.0, 1.0)
        start = float(np.quantile(body, BODY))
        # As if it fell from the median on as it does behind the start.
        from_median = (start - float(np.median(body))) / math.log(0.5 / (1 - BODY))
        over = body[body > start] - start
        if len(over) < FEWEST:
            return cls(body, start, max(from_median, 1e-12))
        known = (len(over) + 1) // 2
        mean = float(over[:known].sum() + (len(over) - known) * over[known - 1]) / known
        return cls(body, start, max(mean, from_median / 2, 1e-12))

    def surprise(self, distances: FloatArray) -> FloatArray:
        """Minus the logarithm of the probability that an ordinary point is as far or farther; NaN stays NaN."""
        value = distances**POWER
        below = np.searchsorted(self.body, value) / max(1, len(self.body))
        counted = -np.log(np.clip(1 - below, 1 - BODY, 1))
        fitted = (value - self.start) / self.mean - math.log(1 - BODY)
        return np.where(np.isnan(value), np.nan, np.where(value > self.start, fitted, counted))

    def distance(self, level: float) -> float:
        """The distance that a share ``level`` of the ordinary points does not exceed."""
        if not self.body.size:
            return 0.0
        if level <= BODY:
            root = float(np.quantile(self.body, level))
        else:
            root = self.start + self.mean * (math.log(1 - BODY) - math.log1p(-level))
        return float(root ** (1 / POWER))


def origins(values: FloatArray, start: int = 0) -> list[int]:
    """How many points are before each forecast: those before the first have FIRST observed ones.

    Args:
        values: shape (n,); NaN is a missing point.
        start: points before which nothing is judged.
    """
    observed = np.flatnonzero(~np.isnan(values))
    first = int(observed[FIRST - 1]) + 1 if len(observed) >= FIRST else len(values)
    return list(range(max(first, start), len(values), BLOCK))


def in_a_row(points: int, at: Sequence[int], forecasts: Sequence[FloatArray | None]) -> FloatArray:
    """The quantiles of forecasts that follow one another, shape (levels, points); NaN where there is none."""
    found = np.full((len(LEVELS), points), np.nan)
    for start, quantiles in zip(at, forecasts, strict=True):
        stop = min(points, start + BLOCK)
        if quantiles is not None:
            found[:, start:stop] = quantiles[:, : stop - start]
    return found


def around(values: FloatArray, expected: FloatArray) -> FloatArray:
    """Quantiles around values that a model without quantiles expects, shape (levels, n): from its median error."""
    errors = np.abs(values - expected)
    known = errors[~np.isnan(errors)]
    reach = DEVIATION * TO_DEVIATION * float(np.median(known)) if known.size else 0.0
    return np.stack((expected - reach, expected, expected + reach))


def judge(
    values: FloatArray, before: FloatArray, after: FloatArray, others: Sequence[FloatArray], level: float
) -> Judged:
    """Judge each point that has a forecast from the points before it.

    Args:
        values: shape (n,); NaN is a missing point, which is never an anomaly.
        before, after: quantiles at LEVELS of the forecasts from either side; shape (levels, n), NaN where there is
            none. A point without a forecast from the points after it is judged by the other alone.
        others: further distances, at least 0; shape (n,) each.
    """
    forward, backward = _deviations(values, before), _deviations(values, after)
    both = np.sqrt(forward * np.where(np.isnan(backward), forward, backward))
    surprise = np.zeros(len(values))
    for distances in (both, *(np.where(np.isnan(both), np.nan, one) for one in others)):
        surprise = surprise + Tail.of(distances).surprise(distances)
    score = -np.expm1(-Tail.of(surprise).surprise(surprise))
    reach = Tail.of(forward).distance(level)
    below, above = _sides(before)
    return Judged(score, before[1], before[1] - reach * below, before[1] + reach * above)


def _deviations(values: FloatArray, quantiles: FloatArray) -> FloatArray:
    """Distances from the median in predictive deviations; NaN where either is missing."""
    below, above = _sides(quantiles)
    error = values - quantiles[1]
    observed = values[~np.isnan(values)]
    error[np.abs(error) <= ROUNDING * (float(np.std(observed)) if observed.size else 0.0)] = 0
    return np.asarray(np.abs(error) / np.where(error > 0, above, below))


def _sides(quantiles: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The predictive deviation below and above the median, shape (n,); a narrow one is widened."""
    below, above = (quantiles[1] - quantiles[0]) / DEVIATION, (quantiles[2] - quantiles[1]) / DEVIATION
    known = (below + above)[~np.isnan(below)] / 2
    usual = (float(np.median(known)) or float(np.mean(known))) if known.size else 0.0
    least = NARROWEST * usual or 1.0
    return np.maximum(below, least), np.maximum(above, least)
