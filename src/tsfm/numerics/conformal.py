"""Honest intervals for models that forecast points only: from what they got wrong over the history.

A causal model's pass over the history already holds its forecast at every past position, so the
residuals of every lead time cost no further pass. Their quantiles, put around the point forecast,
make the interval (split conformal prediction: Vovk et al., Algorithmic Learning in a Random World,
2nd ed., section 4.2; recent residuals count more: Barber et al., Conformal prediction beyond
exchangeability, 2023), with five corrections:

* Residuals of neighbouring origins share most of their lead, so n of them at lead j count as n/j
  independent ones, or as n/i where the errors have levelled off by lead i. A lead with fewer than four
  of those is not measured.
* Residuals are of the size that errors had then, and are brought to the size they have now
  (``tsfm.numerics.localscale``).
* Few residuals show too little of the tails: quantiles are widened as Student's t is against the
  normal, and levels beyond the outermost residual continue with a normal tail.
* Leads beyond the last measured one (the model does not forecast them in one step, or the history is
  too short to show them) continue it by (lead / last) ** growth. The growth is read off the residuals'
  spread between half of the last lead and the last: 0 for errors that level off, 1/2 for those of a
  random walk, at most 1 for those of a missed trend. The fewer independent residuals the last lead has,
  the nearer to 1/2 it stays.
* The forecast given out may be another than the one that the residuals belong to (Time-MoE feeds
  its own back), and may lie outside that one's interval. It has to lie inside what is given out,
  so ``scaling.restore`` stretches the interval to it on one side; the share of residuals that this
  takes in is given back on the other side. What a bias of the residuals themselves adds in the same
  way stays, as a margin: on drifting series yesterday's bias is no promise of tomorrow's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from tsfm.numerics import student
from tsfm.numerics.residuals import FEWEST_INDEPENDENT, TRUST, Residuals, of_model, of_persistence
from tsfm.series import FloatArray

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
    filled: NDArray[np.bool_] | None = None,
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
        filled: shape (n,), True where ``history`` is interpolated and not observed; None: nowhere.
            At least two points are observed, the newest among them.

    Returns:
        shape (len(levels), horizon), in float64.
    """
    centre = np.asarray(point, np.float64).copy()
    if not needed(levels):
        return np.tile(centre, (len(levels), 1))
    leads = min(forecasts.shape[1], len(point))
    observed = np.ones(len(history), bool) if filled is None else ~filled
    residuals = of_model(history, origins, forecasts[:, :leads], observed)
    if residuals is None:
        residuals = of_persistence(history, leads, observed)
    elif origins[-1] == len(history) - 1:
        reach = residuals.lead[-1]
        centre[:reach] = forecasts[-1, :reach]
    steps = np.arange(1, len(point) + 1)
    given = np.interp(residuals.lead, steps, point - centre)
    # Leads before the first measured one shrink by the rule by which those beyond the last one grow.
    grown = (steps / np.clip(steps, residuals.lead[0], residuals.lead[-1])) ** _growth(residuals)

    def bound(level: float) -> FloatArray:
        offsets, last = _offsets(residuals, level, given)
        between: FloatArray = np.interp(steps, residuals.lead, offsets, right=last)
        return centre + between * grown

    return np.stack([point if level == 0.5 else bound(level) for level in levels])


def _offsets(residuals: Residuals, level: float, given: FloatArray) -> tuple[FloatArray, float]:
    """Of the measured leads from the forecast that the residuals belong to, and what later leads grow from.

    Args:
        given: shape (leads,), offsets of the forecast that is given out.
    """
    offsets = _widened(residuals, level)
    last = float(offsets[-1])
    if given.any():
        back = _taken_in(residuals, 1 - level, given)
        offsets = _widened(residuals, level - back if level > 0.5 else level + back)
    return offsets, last


def _taken_in(residuals: Residuals, level: float, given: FloatArray) -> FloatArray:
    """Share of residuals from the bound at ``level``, or its own forecast if further, to ``given``; shape (leads,)."""
    tail = np.full(len(residuals.lead), min(level, 1 - level))
    middle, factor = residuals.middle, _factor(residuals, tail, tail)

    def left_out(offset: FloatArray) -> FloatArray:
        below = residuals.share_below(middle + (offset - middle) / factor)
        left: FloatArray = np.minimum(below if level < 0.5 else 1 - below, tail)
        return left

    taken = np.maximum(left_out(np.zeros_like(given)) - left_out(given), 0)
    # At most until the other bound meets this one, and nothing where the residuals do not show the tail.
    return np.where(tail > _least_shown(residuals), np.minimum(taken, 1 - 2 * tail), 0.0)


def _widened(residuals: Residuals, level: float | FloatArray) -> FloatArray:
    """The quantile of each lead, corrected for how few residuals there are; shape (leads,)."""
    level = np.broadcast_to(level, residuals.lead.shape)
    tail = np.minimum(np.minimum(level, 1 - level), 0.499)  # the normal's quantile at 0.5 is 0, and divides
    shown = np.clip(_least_shown(residuals), tail, np.maximum(tail, 0.4))  # as far as they show the tail
    at = residuals.quantile(np.where(level < 0.5, shown, 1 - shown))
    widened: FloatArray = residuals.middle + (at - residuals.middle) * _factor(residuals, tail, shown)
    return widened


def _least_shown(residuals: Residuals) -> FloatArray:
    return 1 / (residuals.effective + 1)


def _factor(residuals: Residuals, tail: FloatArray, shown: FloatArray) -> FloatArray:
    """By how much the distance at ``shown`` from the middle grows to be the one at ``tail``; shapes (leads,)."""
    independent = np.maximum(residuals.independent, FEWEST_INDEPENDENT)
    factor: FloatArray = student.quantile(tail, _z(tail), independent - 1) / _z(shown) * np.sqrt(1 + 1 / independent)
    return factor


def _z(tails: FloatArray) -> FloatArray:
    return np.array([-_normal.inv_cdf(tail) for tail in tails])


def _growth(residuals: Residuals) -> float:
    lead = residuals.lead
    half = int(np.searchsorted(lead, lead[-1] // 2, side="right")) - 1
    if half < 0:
        return RANDOM_WALK
    spread = residuals.quantile(0.9) - residuals.quantile(0.1)
    if min(spread[-1], spread[half]) <= 0:
        return RANDOM_WALK
    seen = math.log(spread[-1] / spread[half]) / math.log(lead[-1] / lead[half])
    trust = residuals.independent[-1] / (residuals.independent[-1] + TRUST)
    return float(np.clip(RANDOM_WALK + trust * (seen - RANDOM_WALK), 0, 1))
