"""Centre and scale in float64 before a model sees float32, and undo it in float64 after.

A meter that stands at 1,000,000,000 and grows by 1, or a current of 1e-12, is thus forecast as
well as the same shape at 0 and 1. All families are equivariant under it: their own
normalisation on top changes nothing but rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tsfm.errors import ModelFailed
from tsfm.series import Family, FloatArray, Forecast, Imputer, Series

LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class Scale:
    """The affine map from a model's unit spread back to the unit of the input.

    A constant series has ``spread`` 0: it is answered with its constant, without the model.
    """

    centre: float
    spread: float

    def restore(self, values: FloatArray) -> FloatArray:
        """Back to the input's unit, float64; what would overflow stays at the largest number."""
        with np.errstate(over="ignore"):
            # Halved first: centre and spread may each be near the largest number.
            half = self.centre / 2 + np.asarray(values, np.float64) * (self.spread / 2)
            return np.clip(half * 2, -LARGEST, LARGEST)


def standardise(series: Series, fill_gaps: bool, max_context: int) -> tuple[Series, Scale]:
    """The newest ``max_context`` points with mean 0 and spread 1 in float32, covariates likewise.

    Args:
        series: at least one point of the context is observed.
        fill_gaps: interpolate gaps linearly (ends: the nearest value), for models that take no NaN.
    """
    series = series.newest(max_context)
    missing = np.isnan(series.target)
    target, scale = _unit(np.asarray(series.target, np.float64), fill_gaps)
    past = [_unit(row, True)[0] for row in series.past_covariates]
    future = [_unit(row, True)[0] for row in series.future_covariates]
    filled = missing if fill_gaps and missing.any() else None
    return Series(target, _stack(past), _stack(future), filled), scale


def restore(forecast: Forecast, scale: Scale, levels: Sequence[float]) -> Forecast:
    """In the input's unit; quantiles cross neither one another nor the median.

    Raises:
        ModelFailed: the model gave something that is not a number.
    """
    made = np.vstack((forecast.median, forecast.quantiles))
    if not np.isfinite(made).all():
        raise ModelFailed("the model's answer holds values that are not numbers")
    made = scale.restore(made)
    median, rows = made[0], made[1:]
    order = np.argsort(levels, kind="stable")
    rows[order] = np.sort(rows, axis=0)
    for row, level in zip(rows, levels, strict=True):
        (np.minimum if level < 0.5 else np.maximum)(row, median, out=row, where=level != 0.5)
    return Forecast(median, rows)


def constant(horizon: int, levels: Sequence[float], scale: Scale) -> Forecast:
    """The answer to a series without any spread."""
    return Forecast(np.full(horizon, scale.centre), np.full((len(levels), horizon), scale.centre))


def forecast(family: Family, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
    """The whole way for series in any unit, in this thread: scale, model, scale back."""
    fill = not family.capabilities.missing_values
    prepared = [standardise(series, fill, family.max_context) for series in batch]
    moving = [series for series, scale in prepared if scale.spread]
    answers = iter(family.forecast(moving, horizon, levels) if moving else [])
    return [
        restore(next(answers), scale, levels) if scale.spread else constant(horizon, levels, scale)
        for _, scale in prepared
    ]


def impute(model: Imputer, batch: Sequence[Series]) -> list[FloatArray]:
    """The whole way of filling gaps for series in any unit, in this thread; shapes (n,), float64."""
    prepared = [standardise(series, False, model.max_context) for series in batch]
    moving = [series for series, scale in prepared if scale.spread]
    filled = iter(model.impute(moving) if moving else [])
    return [
        completed(next(filled), scale) if scale.spread else np.full(len(series), scale.centre)
        for series, scale in prepared
    ]


def completed(filled: FloatArray, scale: Scale) -> FloatArray:
    """A filled series in the input's unit, float64.

    Raises:
        ModelFailed: the model gave something that is not a number.
    """
    if not np.isfinite(filled).all():
        raise ModelFailed("the model's answer holds values that are not numbers")
    return scale.restore(filled)


def fill(values: FloatArray) -> FloatArray:
    """Gaps interpolated linearly, ends held; all missing stays as it is."""
    observed = ~np.isnan(values)
    if observed.all() or not observed.any():
        return values
    index = np.arange(len(values))
    return np.interp(index, index[observed], values[observed])


def _unit(values: FloatArray, fill_gaps: bool) -> tuple[FloatArray, Scale]:
    missing = np.isnan(values)
    there = ~missing if missing.any() else slice(None)
    seen = values[there]
    low, high = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 0.0)
    if low == high:
        # A covariate without any point tells as little as a constant one.
        unit = np.where(missing, values, 0.0) if seen.size else np.zeros_like(values)
        return np.asarray(fill(unit) if fill_gaps else unit, np.float32), Scale(high, 0.0)
    # First the lowest value is taken off, which is exact for near values, then the range comes to 1:
    # squares of 1e200 and of 1e-200 are out of range. Halved where high - low itself would be.
    part = 0.5 if max(-low, high) > LARGEST / 4 else 1.0
    base, span = low * part, high * part - low * part
    unit = (values * part - base) / span
    mean = float(unit[there].mean())
    unit -= mean
    raised = unit[there]
    deviation = math.sqrt(float(raised @ raised) / raised.size)
    unit /= deviation
    scale = Scale((base + mean * span) / part, deviation * span / part)
    return np.asarray(fill(unit) if fill_gaps else unit, np.float32), scale


def _stack(rows: list[FloatArray]) -> FloatArray:
    return np.stack(rows) if rows else np.empty((0, 0), np.float32)
