"""Conformal prediction intervals for models that predict points only, from the errors of their past forecasts.

One pass of a causal model over the history already holds its forecast at every past position, so the residuals of
every lead time need no further pass. The quantiles of the residuals, added to the point forecast, are the interval.
This is split conformal prediction (Vovk et al., Algorithmic Learning in a Random World, 2nd ed., section 4.2).
Recent residuals have more weight (Barber et al., Conformal prediction beyond exchangeability, 2023).

Five corrections apply. In the formulas q(u) is the weighted quantile of the residuals of one lead, m = q(0.5) is
their median and tail = min(level, 1 - level).

* Overlap. Forecasts from neighbouring origins share most of their lead, so n residuals at lead j count as n / j
  independent ones, or as n / i where the errors have levelled off by lead i. With origins s points apart:
  ``independent = effective / max(1, k / s)``, where ``effective = sum(w)**2 / sum(w**2)`` for weights w,
  ``k = j + a / (a + 4) * (i - j)`` and ``a = n / max(1, j / s)``.
  A lead with fewer than four of them, ``n / max(1, k / s) < 4``, is not measured.
* Scale. A residual has the size that errors had at its origin. It is scaled to the size that errors have now:
  ``residual * (scale_now / scale_then) ** power``, power 0, 1/2 or 1 (``tsfm.numerics.localscale``).
* Few residuals. They do not show the far tails. Quantiles are widened by the ratio of Student's t to the normal, and
  levels beyond the outermost residual continue with a normal tail:
  ``offset = m + (q(shown) - m) * t(tail, independent - 1) / z(shown) * sqrt(1 + 1 / independent)``. Here
  ``shown = max(tail, 1 / (effective + 1))``, at most 0.4 unless tail is larger, and independent is at least 4; t and
  z are the quantiles of Student's t and of the normal at a tail; for levels above 0.5, q is read at 1 - shown.
* Far leads. The last measured lead limits the interval if the model does not forecast later leads in one step, or
  if the history is too short to measure them. Later leads continue by
  ``offset(lead) = offset(last) * (lead / last) ** growth``. The growth is estimated from the residuals' spread
  q(0.9) - q(0.1) at the last lead and at half of it: it is 0 for errors that level off, 1/2 for errors of a random
  walk, at most 1 for errors of a missed trend. With n independent residuals at the last lead:
  ``growth = 1/2 + n / (n + 4) * (log(spread(last) / spread(half)) / log(last / half) - 1/2)``, clipped to [0, 1],
  so fewer independent residuals keep it nearer to 1/2.
* Another point forecast. The forecast that the caller returns may differ by d from the forecast that the residuals
  belong to (Time-MoE feeds its own output back), and may be outside the interval of that forecast. The interval has
  to contain the returned forecast, so ``scaling.restore`` stretches it on one side. The opposite bound moves inwards
  by the share of residuals that the stretch covers:
  ``level_used = level -/+ max(0, outside(0) - outside(d))`` (minus above 0.5), where outside(x) is the share of
  widened residuals that are beyond both x and the stretched bound.
  A bias of the residuals themselves also stretches the interval. That margin is kept: on drifting series the
  bias of the past does not predict the bias of the future.
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


def warm_up(points: int) -> int:
    """Points at the start of a series of so many, where a model has seen too little for typical errors."""
    return min(16, points // 4)


def needed(levels: Sequence[float]) -> bool:
    """Whether any level differs from 0.5, the level of the point forecast."""
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
        history: shape (n,), at least 2 points; in the unit and scale of the forecasts.
        origins: shape (m,), ascending; index of the last point that each past forecast used.
        forecasts: shape (m, leads); column j is for the point ``origin + j + 1``, which may be after the end of the
            history. If there are too few forecasts, the residuals of repeating the last value replace theirs.
            If the last origin is the newest point, the intervals of its leads are centred on that row, because the
            residuals belong to it, however ``point`` was computed.
        point: shape (horizon,), the forecast that the caller returns. The intervals of leads beyond the columns are
            centred on it and continued by the growth rule. If it is outside a bound, the caller must move that
            bound to it (``scaling.restore`` does); the opposite bound is already moved inwards for this.
        levels: each in (0, 1); 0.5 returns the point forecast itself.
        filled: shape (n,), True where ``history`` is interpolated and not observed; None: nowhere.
            At least two points are observed, including the newest.

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
    # Leads before the first measured one shrink by the same rule by which leads after the last one grow.
    grown = (steps / np.clip(steps, residuals.lead[0], residuals.lead[-1])) ** _growth(residuals)

    def bound(level: float) -> FloatArray:
        offsets, last = _offsets(residuals, level, given)
        between: FloatArray = np.interp(steps, residuals.lead, offsets, right=last)
        return centre + between * grown

    return np.stack([point if level == 0.5 else bound(level) for level in levels])


def _offsets(residuals: Residuals, level: float, given: FloatArray) -> tuple[FloatArray, float]:
    """The bound's offsets at the measured leads, and the last offset, from which later leads grow.

    Offsets are relative to the forecast that the residuals belong to.

    Args:
        given: shape (leads,), offsets of the forecast that the caller returns.
    """
    offsets = _widened(residuals, level)
    last = float(offsets[-1])
    if given.any():
        back = _taken_in(residuals, 1 - level, given)
        offsets = _widened(residuals, level - back if level > 0.5 else level + back)
    return offsets, last


def _taken_in(residuals: Residuals, level: float, given: FloatArray) -> FloatArray:
    """Share of residuals between the bound at ``level``, or offset 0 if that is further out, and ``given``.

    Shape (leads,). Offset 0 is the forecast that the residuals belong to.
    """
    tail = np.full(len(residuals.lead), min(level, 1 - level))
    middle, factor = residuals.middle, _factor(residuals, tail, tail)

    def left_out(offset: FloatArray) -> FloatArray:
        below = residuals.share_below(middle + (offset - middle) / factor)
        left: FloatArray = np.minimum(below if level < 0.5 else 1 - below, tail)
        return left

    taken = np.maximum(left_out(np.zeros_like(given)) - left_out(given), 0)
    # At most until the two bounds meet, and 0 where there are too few residuals to show the tail.
    return np.where(tail > _least_shown(residuals), np.minimum(taken, 1 - 2 * tail), 0.0)


def _widened(residuals: Residuals, level: float | FloatArray) -> FloatArray:
    """The quantile of each lead, widened for the small number of residuals; shape (leads,)."""
    level = np.broadcast_to(level, residuals.lead.shape)
    tail = np.minimum(np.minimum(level, 1 - level), 0.499)  # the normal's quantile at 0.5 is 0, and it is a divisor
    shown = np.clip(_least_shown(residuals), tail, np.maximum(tail, 0.4))  # the outermost tail that the residuals show
    at = residuals.quantile(np.where(level < 0.5, shown, 1 - shown))
    widened: FloatArray = residuals.middle + (at - residuals.middle) * _factor(residuals, tail, shown)
    return widened


def _least_shown(residuals: Residuals) -> FloatArray:
    return 1 / (residuals.effective + 1)


def _factor(residuals: Residuals, tail: FloatArray, shown: FloatArray) -> FloatArray:
    """Ratio of the distance from the median at ``tail`` to the distance at ``shown``; shapes (leads,)."""
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
    measured = math.log(spread[-1] / spread[half]) / math.log(lead[-1] / lead[half])
    trust = residuals.independent[-1] / (residuals.independent[-1] + TRUST)
    return float(np.clip(RANDOM_WALK + trust * (measured - RANDOM_WALK), 0, 1))
