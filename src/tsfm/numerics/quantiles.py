"""Compute any quantile level from the few levels that a model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from tsfm.series import FloatArray, Forecast


def at_levels(trained: Sequence[float], values: FloatArray, levels: Sequence[float]) -> FloatArray:
    """Interpolate or extrapolate a model's quantiles to the requested levels.

    Levels between trained levels are interpolated linearly. Levels beyond the outermost trained level follow the tail
    of a normal distribution that has the model's median and passes through the outermost quantile on that side. An
    interval therefore keeps widening and keeps the model's skew. Nothing is clamped.

    Args:
        trained: shape (q,), ascending, includes 0.5.
        values: shape (..., q, horizon); crossing quantiles are sorted first.
        levels: each in (0, 1).

    Returns:
        shape (..., len(levels), horizon).
    """
    ordered = np.moveaxis(np.sort(np.asarray(values, np.float64), axis=-2), -2, 0)
    levels_known = np.asarray(trained, np.float64)
    median = ordered[int(np.argmin(np.abs(levels_known - 0.5)))]
    rows = [_one_level(levels_known, ordered, median, level) for level in levels]
    return np.stack(rows, axis=-2) if rows else np.empty((*median.shape[:-1], 0, median.shape[-1]))


def forecasts(trained: Sequence[float], values: FloatArray, levels: Sequence[float]) -> list[Forecast]:
    """The forecasts of a batch: ``at_levels`` applied to ``values`` of shape (b, q, horizon)."""
    return [Forecast(rows[0], rows[1:]) for rows in at_levels(trained, values, [0.5, *levels])]


def _one_level(trained: FloatArray, ordered: FloatArray, median: FloatArray, level: float) -> FloatArray:
    outermost = 0 if level < trained[0] else -1 if level > trained[-1] else None
    if outermost is not None:
        normal = NormalDist()
        widening = normal.inv_cdf(level) / normal.inv_cdf(float(trained[outermost]))
        return np.asarray(median + (ordered[outermost] - median) * widening)
    right = int(np.searchsorted(trained, level))
    if abs(trained[right] - level) <= 1e-6:
        return np.asarray(ordered[right])
    weight = (level - trained[right - 1]) / (trained[right] - trained[right - 1])
    return np.asarray(ordered[right - 1] * (1 - weight) + ordered[right] * weight)
