"""Residuals of a model's past forecasts, sorted and weighted within each lead; the source of conformal intervals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tsfm.numerics import localscale
from tsfm.series import FloatArray

FEWEST = 8  # minimum number of residuals for a measured lead
FEWEST_INDEPENDENT = 4  # minimum number of independent ones: three degrees of freedom
TRUST = 4.0  # number of independent residuals at which their estimate of the growth has weight 1/2
LEVEL = 0.9  # errors have levelled off where their mean square is this fraction of a later lead's
HALF_LIFE = 0.4  # age at which a residual has half weight, as a fraction of the history's length


@dataclass(frozen=True)
class Residuals:
    """Residuals of the measured leads, sorted within each lead, with the cumulative share of weight at each.

    A lead with too few residuals is not measured. This holds for far leads of a short history, and for leads that
    end in a gap from every observed origin.
    """

    lead: NDArray[np.int64]  # (leads,), ascending, at least 1
    values: FloatArray  # (leads, m); entries from ``counts`` on have no meaning
    below: FloatArray  # (leads, m); cumulative share of weight, half of the residual's own included
    counts: NDArray[np.int64]  # (leads,)
    effective: FloatArray  # (leads,): equivalent number of residuals of equal weight
    independent: FloatArray  # (leads,): the same, corrected for overlap

    @cached_property
    def middle(self) -> FloatArray:
        """The median of each lead, shape (leads,)."""
        return self.quantile(0.5)

    def quantile(self, level: float | FloatArray) -> FloatArray:
        """The quantile at one level, or at one level for each lead; shape (leads,).

        Linear between residuals; beyond the outermost residual, its value.
        """
        last = self.counts - 1
        right = np.minimum(np.maximum((self.below < np.reshape(level, (-1, 1))).sum(1), 1), last)
        left = np.maximum(right - 1, 0)
        rows = np.arange(len(self.lead))
        low, high = self.below[rows, left], self.below[rows, right]
        part = np.clip((level - low) / np.maximum(high - low, 1e-12), 0, 1)
        blended: FloatArray = self.values[rows, left] * (1 - part) + self.values[rows, right] * part
        return blended

    def share_below(self, offsets: FloatArray) -> FloatArray:
        """The inverse of ``quantile``, one offset per lead, shapes (leads,); 0 or 1 beyond the outermost residual."""
        smaller = (self.values < offsets[:, None]).sum(1)
        right = np.clip(smaller, 1, self.counts - 1)
        rows = np.arange(len(self.lead))
        low, high = self.values[rows, right - 1], self.values[rows, right]
        part = np.clip((offsets - low) / np.maximum(high - low, 1e-300), 0, 1)
        share = self.below[rows, right - 1] * (1 - part) + self.below[rows, right] * part
        return np.where(smaller == 0, 0.0, np.where(smaller == self.counts, 1.0, share))


def of_model(
    history: FloatArray, origins: NDArray[np.int64], forecasts: FloatArray, observed: NDArray[np.bool_]
) -> Residuals | None:
    """Residuals of the model's past forecasts at the current local scale; None if no lead has enough residuals.

    A filled point is neither the target nor the origin of a residual, because an interpolated value depends on the
    points on both sides of it. Arguments are those of ``conformal.intervals``; ``observed`` has shape (n,).
    """
    if not observed.all():
        usable = observed[origins]
        origins, forecasts = origins[usable], forecasts[usable]
    if len(origins) < FEWEST:
        return None
    spacing = int(np.median(np.diff(origins)))
    lead = np.arange(1, forecasts.shape[1] + 1)
    aims, there = _aims(origins, lead, observed)
    shown = there.sum(1) >= FEWEST
    if not shown.any():
        return None
    if not shown.all():
        lead, aims, there = lead[shown], aims[shown], there[shown]
    residuals = np.asarray(history, np.float64)[aims] - forecasts.T[lead - 1]
    residuals *= localscale.now_over_then(residuals, there, max(1, int((lead <= spacing).sum())))
    weights = np.where(there, 0.5 ** ((len(history) - 1 - origins) / (HALF_LIFE * len(history))), 0.0)
    counts = there.sum(1)
    squares = np.einsum("ij,ij,ij->i", weights, residuals, residuals) / weights.sum(1)
    overlap = _overlap(lead, spacing, counts, squares)
    enough = counts / overlap >= FEWEST_INDEPENDENT
    if not enough.any():
        return None
    if not enough.all():
        lead, residuals, weights, overlap = lead[enough], residuals[enough], weights[enough], overlap[enough]
    return _sorted(lead, residuals, weights, overlap)


def of_persistence(history: FloatArray, leads: int, observed: NDArray[np.bool_]) -> Residuals:
    """Residuals of the forecast that repeats the last value; at least two points are observed.

    Each residual is used with both signs, because there are few.
    """
    origins = np.flatnonzero(observed)[:-1]
    lead = np.arange(1, max(leads, int(np.diff(np.flatnonzero(observed)).min())) + 1)
    aims, there = _aims(origins, lead, observed)
    counts = there.sum(1)
    enough = counts / lead >= FEWEST_INDEPENDENT
    enough[counts.argmax()] |= not enough.any()  # the first lead with the most residuals
    lead, aims, there = lead[enough], aims[enough], there[enough]
    values = np.asarray(history, np.float64)
    moved, weights = values[aims] - values[origins], there / 2
    return _sorted(lead, np.concatenate([moved, -moved], 1), np.concatenate([weights, weights], 1), lead)


def _aims(
    origins: NDArray[np.int64], lead: NDArray[np.int64], observed: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Index of the point that each lead of each origin forecasts, and whether it is observed; shapes (leads, m)."""
    aims = origins + lead[:, None]
    there = aims < len(observed)
    aims = np.minimum(aims, len(observed) - 1)
    return aims, there if observed.all() else there & observed[aims]


def _overlap(lead: NDArray[np.int64], spacing: int, counts: NDArray[np.int64], squares: FloatArray) -> FloatArray:
    """Number of residuals that share one step; shape (leads,).

    Forecasts from neighbouring origins share most of their lead. The shared steps count as long as they add to the
    mean squared errors ``squares``. For a random walk all shared steps count. For a stationary series only the
    steps before the errors level off count. This estimate has less weight if fewer residuals support it.
    """
    level = lead[np.searchsorted(np.maximum.accumulate(squares), LEVEL * squares)]
    alone = counts / np.maximum(1, lead / spacing)
    shared = lead + alone / (alone + TRUST) * (level - lead)
    return np.maximum(1.0, shared / spacing)


def _sorted(lead: NDArray[np.int64], values: FloatArray, weights: FloatArray, overlap: FloatArray) -> Residuals:
    values = np.where(weights > 0, values, np.inf)
    order = np.argsort(values, axis=1) + np.arange(len(values))[:, None] * values.shape[1]
    values, weights = values.take(order), weights.take(order)  # twice as fast as take_along_axis
    total, squares = weights.sum(1), (weights**2).sum(1)
    below = (np.cumsum(weights, 1) - weights / 2) / total[:, None]
    effective = total**2 / squares
    return Residuals(lead, values, below, (weights > 0).sum(1), effective, effective / overlap)
