"""Honest intervals for models that forecast points only: from what they got wrong over the history.

A causal model's pass over the history already holds its forecast at every past position, so the
residuals of every lead time cost no further pass. Their quantiles, put around the point forecast,
make the interval (split conformal prediction: Vovk et al., Algorithmic Learning in a Random World,
2nd ed., section 4.2; recent residuals count more: Barber et al., Conformal prediction beyond
exchangeability, 2023), with four corrections:

* Residuals of neighbouring origins share most of their lead, so n of them at lead j count as n/j
  independent ones.
* Few residuals show too little of the tails: quantiles are widened as Student's t is against the
  normal, and levels beyond the outermost residual continue with a normal tail.
* Leads that the model does not forecast in one step (or that the history is too short to show)
  continue the last measured one by (lead / last) ** growth, the growth read off the residuals'
  spread between half of the last lead and the last: 0 for errors that level off, 1/2 for those of a
  random walk, at most 1 for those of a missed trend.
* The forecast given out may be another than the one that the residuals belong to (Time-MoE feeds
  its own back), and may lie outside that one's interval. It has to lie inside what is given out,
  so ``scaling.restore`` stretches the interval to it on one side; the share of residuals that this
  takes in is given back on the other side. What a bias of the residuals themselves adds in the same
  way stays, as a margin: on drifting series yesterday's bias is no promise of tomorrow's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from tsfm.series import FloatArray

FEWEST = 8  # residuals that a lead needs to be measured
FEWEST_INDEPENDENT = 4  # that a lead is credited with: three degrees of freedom
HALF_LIFE = 0.5  # age at which a residual counts half, as a part of the history's length
RANDOM_WALK = 0.5

_normal = NormalDist()


def needed(levels: Sequence[float]) -> bool:
    """Whether any level asks for more than the point forecast."""
    return any(level != 0.5 for level in levels)


def intervals(
    history: FloatArray,
    origins: NDArray[np.int64],
    forecasts: FloatArray,
    point: FloatArray,
    levels: Sequence[float],
) -> FloatArray:
    """Quantiles around a point forecast.

    Args:
        history: shape (n,), at least 2 points; unit and scale are those of the forecasts.
        origins: shape (m,), ascending; index of the last point that each past forecast had seen.
        forecasts: shape (m, leads); column j is for the point ``origin + j + 1``, which may lie past the
            history's end. Where there are too few, residuals of repeating the last value stand in.
            The row whose origin is the newest point, if there is one, is what the intervals of its leads
            lie around: the residuals belong to it, whatever way ``point`` was made.
        point: shape (horizon,), the forecast given out; intervals of leads beyond the columns lie
            around it and are continued by the growth rule. Where it lies outside a bound, the caller is
            to move that bound to it (``scaling.restore`` does), for which the opposite one is drawn in.
        levels: each in (0, 1); 0.5 gives the point forecast itself.

    Returns:
        shape (len(levels), horizon), in float64.
    """
    if not needed(levels):
        return np.tile(np.asarray(point, np.float64), (len(levels), 1))
    leads = min(forecasts.shape[1], len(point))
    residuals = _residuals(history, origins, forecasts[:, :leads])
    centre = np.asarray(point, np.float64).copy()
    if not residuals.leads:
        residuals = _of_persistence(history, leads)
    elif origins[-1] == len(history) - 1:
        centre[: residuals.leads] = forecasts[-1, : residuals.leads]
    given = point[: residuals.leads] - centre[: residuals.leads]
    return np.stack(
        [point if level == 0.5 else centre + _offsets(residuals, level, given, len(point)) for level in levels]
    )


@dataclass(frozen=True)
class _Residuals:
    """Residuals sorted within each lead, with the part of all weight at and below each."""

    values: FloatArray  # (leads, m); beyond ``counts`` without meaning
    below: FloatArray  # (leads, m)
    counts: NDArray[np.int64]  # (leads,)
    effective: FloatArray  # (leads,): how many of equal weight they are worth
    independent: FloatArray  # (leads,): the same without overlap

    @property
    def leads(self) -> int:
        """Leads that are measured: none, or at least one."""
        return len(self.counts)

    def quantile(self, level: float | FloatArray) -> FloatArray:
        """One level, or one for each lead, to shape (leads,): linear between residuals, the outermost beyond."""
        last = self.counts - 1
        right = np.minimum(np.maximum((self.below < np.reshape(level, (-1, 1))).sum(1), 1), last)
        left = np.maximum(right - 1, 0)
        rows = np.arange(self.leads)
        low, high = self.below[rows, left], self.below[rows, right]
        part = np.clip((level - low) / np.maximum(high - low, 1e-12), 0, 1)
        blended: FloatArray = self.values[rows, left] * (1 - part) + self.values[rows, right] * part
        return blended

    def share_below(self, offsets: FloatArray) -> FloatArray:
        """The inverse of ``quantile`` for one offset of each lead, shapes (leads,): 0 or 1 beyond the outermost."""
        smaller = (self.values < offsets[:, None]).sum(1)
        right = np.clip(smaller, 1, self.counts - 1)
        rows = np.arange(self.leads)
        low, high = self.values[rows, right - 1], self.values[rows, right]
        part = np.clip((offsets - low) / np.maximum(high - low, 1e-300), 0, 1)
        share = self.below[rows, right - 1] * (1 - part) + self.below[rows, right] * part
        return np.where(smaller == 0, 0.0, np.where(smaller == self.counts, 1.0, share))


def _residuals(history: FloatArray, origins: NDArray[np.int64], forecasts: FloatArray) -> _Residuals:
    last = len(history) - 1
    aims = origins + 1 + np.arange(forecasts.shape[1])[:, None]  # (leads, m)
    inside = aims <= last
    measured = int((inside.sum(1) >= FEWEST).sum())  # counts only fall with the lead
    aims, inside = aims[:measured], inside[:measured]
    values = np.asarray(history, np.float64)[np.minimum(aims, last)] - forecasts.T[:measured]
    spacing = (origins[-1] - origins[0]) / max(len(origins) - 1, 1) if len(origins) else 1.0
    weights = 0.5 ** ((last - origins) / (HALF_LIFE * len(history)))
    return _sorted(values, np.where(inside, weights, 0.0), spacing)


def _of_persistence(history: FloatArray, leads: int) -> _Residuals:
    # Without enough of the model's own: those of the last value, both ways since they are few.
    values = np.asarray(history, np.float64)
    steps = min(leads, max(1, len(values) - FEWEST))
    rows = np.arange(len(values) - 1)
    aims = rows + 1 + np.arange(steps)[:, None]
    inside = (aims < len(values)).astype(np.float64)
    moved = values[np.minimum(aims, len(values) - 1)] - values[rows]
    return _sorted(np.concatenate([moved, -moved], 1), np.concatenate([inside, inside], 1) / 2, 1.0)


def _sorted(values: FloatArray, weights: FloatArray, spacing: float) -> _Residuals:
    values = np.where(weights > 0, values, np.inf)
    order = np.argsort(values, axis=1)
    values, weights = (np.take_along_axis(a, order, 1) for a in (values, weights))
    total, squares = weights.sum(1), (weights**2).sum(1)
    below = (np.cumsum(weights, 1) - weights / 2) / total[:, None]
    overlap = np.maximum(1.0, np.arange(1, len(values) + 1) / spacing)
    effective = total**2 / squares
    return _Residuals(values, below, (weights > 0).sum(1), effective, effective / overlap)


def _offsets(residuals: _Residuals, level: float, given: FloatArray, horizon: int) -> FloatArray:
    """Offsets from the forecast that the residuals belong to, shape (horizon,); ``given`` is the other's, (leads,)."""
    offsets = _widened(residuals, level)
    leads = len(offsets)
    beyond = np.arange(leads + 1, horizon + 1) / leads
    further = offsets[-1] * beyond ** _growth(residuals) if len(beyond) else beyond
    if given.any():
        back = _taken_in(residuals, 1 - level, given)
        offsets = _widened(residuals, level - back if level > 0.5 else level + back)
    return np.concatenate([offsets, further])


def _taken_in(residuals: _Residuals, level: float, given: FloatArray) -> FloatArray:
    """Share of residuals from the bound at ``level``, or its own forecast if further, to ``given``; shape (leads,)."""
    tail = np.full(residuals.leads, min(level, 1 - level))
    middle, factor = residuals.quantile(0.5), _factor(residuals, tail, tail)

    def left_out(offset: FloatArray) -> FloatArray:
        below = residuals.share_below(middle + (offset - middle) / factor)
        left: FloatArray = np.minimum(below if level < 0.5 else 1 - below, tail)
        return left

    taken = np.maximum(left_out(np.zeros_like(given)) - left_out(given), 0)
    # At most until the other bound meets this one, and nothing where the residuals do not show the tail.
    return np.where(tail > _least_shown(residuals), np.minimum(taken, 1 - 2 * tail), 0.0)


def _widened(residuals: _Residuals, level: float | FloatArray) -> FloatArray:
    """The quantile of each lead, corrected for how few residuals there are; shape (leads,)."""
    level = np.broadcast_to(level, (residuals.leads,))
    tail = np.minimum(np.minimum(level, 1 - level), 0.499)  # the normal's quantile at 0.5 is 0, and divides
    shown = np.clip(_least_shown(residuals), tail, np.maximum(tail, 0.4))  # as far as they show the tail
    at = residuals.quantile(np.where(level < 0.5, shown, 1 - shown))
    middle = residuals.quantile(0.5)
    widened: FloatArray = middle + (at - middle) * _factor(residuals, tail, shown)
    return widened


def _least_shown(residuals: _Residuals) -> FloatArray:
    return 1 / (residuals.effective + 1)


def _factor(residuals: _Residuals, tail: FloatArray, shown: FloatArray) -> FloatArray:
    """By how much the distance at ``shown`` from the middle grows to be the one at ``tail``; shapes (leads,)."""
    independent = np.maximum(residuals.independent, FEWEST_INDEPENDENT)
    factor: FloatArray = _student(_z(tail), independent - 1) / _z(shown) * np.sqrt(1 + 1 / independent)
    return factor


def _z(tails: FloatArray) -> FloatArray:
    return np.array([_normal.inv_cdf(1 - tail) for tail in tails])


def _student(z: FloatArray, freedom: FloatArray) -> FloatArray:
    # Student's for the normal's z. Abramowitz and Stegun, 26.7.5: within 1 % from 3 degrees of
    # freedom on, for 0.005 to 0.995.
    quantile: FloatArray = (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
    return quantile


def _growth(residuals: _Residuals) -> float:
    last, half = residuals.leads, residuals.leads // 2
    if not half:
        return RANDOM_WALK
    spread = residuals.quantile(0.9) - residuals.quantile(0.1)
    if min(spread[last - 1], spread[half - 1]) <= 0:
        return RANDOM_WALK
    return float(np.clip(math.log(spread[last - 1] / spread[half - 1]) / math.log(last / half), 0, 1))
