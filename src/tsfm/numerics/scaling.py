"""Centre and scale series in float64 before the model's float32, and invert it in float64 afterwards.

A meter that reads 1,000,000,000 and grows by 1, or a current of 1e-12, is therefore forecast as well as the same
shape at 0 and 1. Our families are equivariant under this map in any unit: their own normalisation on top of it changes
only rounding. Some official implementations are not equivariant (docs/numerics.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsfm.errors import ModelFailed
from tsfm.series import Family, FloatArray, Forecast, Imputer, Series

LARGEST = float(np.finfo(np.float64).max)
FARTHEST = 1e30  # largest distance of a covariate from its past, in spreads: a float32 can still be divided by 1e-5
ROUNDING = 2.0**-22  # rounding of a model in float32, as a fraction of its output or of one spread
ROUNDING_BACK = 2.0**-51  # rounding of the map back to the input's unit in float64, as a fraction of the level


@dataclass(frozen=True)
class Scale:
    """The affine map from a model's unit spread back to the unit of the input.

    A constant series has ``spread`` 0. Its forecast is the constant, and the model is not called.
    """

    centre: float
    spread: float

    def restore(self, values: FloatArray) -> FloatArray:
        """The values in the input's unit, float64; values that would overflow become the largest number."""
        with np.errstate(over="ignore"):
            # Halved first: centre and spread may each be near the largest number.
            half = self.centre / 2 + np.asarray(values, np.float64) * (self.spread / 2)
            return np.minimum(np.maximum(half * 2, -LARGEST), LARGEST)


@dataclass(frozen=True)
class Fitted:
    """The part of a series that is the model's input, and the number of steps to forecast.

    Attributes:
        series: begins with an observed point; empty if no observed point is left.
        lead: steps from the end of ``series`` to the end of the horizon.
        room: maximum number of context points for this lead.
    """

    series: Series
    lead: int
    room: int


def fitted(series: Series, family: Family, horizon: int) -> Fitted:
    """Cut missing points at the ends, which are not filled, and then points that are too old.

    A gap at the start makes the series shorter. A gap at the end is masked by families that support missing values.
    The other families forecast from the newest observed point, that many steps more; the first steps are dropped.
    """
    stop = len(series) if family.capabilities.missing_values else series.observed_span()[1]
    lead = len(series) - stop + horizon
    room = family.context_for(lead, series.schema)
    cut = series.between(stop - min(max(room, 0), stop), stop)
    return Fitted(cut.between(cut.observed_span()[0], len(cut)), lead, room)


def standardise(series: Series, fill_gaps: bool, max_context: int | None = None) -> tuple[Series, Scale]:
    """Scale the target to mean 0 and spread 1 in float32, and covariates likewise.

    A covariate is centred and scaled by its past alone, so that its known future does not change its past. A covariate
    with a constant past keeps its unit. Missing values of covariates stay NaN.

    Args:
        series: at least one point is observed.
        fill_gaps: interpolate the target's gaps linearly, for models that do not accept NaN.
        max_context: maximum number of points, the newest ones; None: all.
    """
    series = series if max_context is None else series.newest(max_context)
    measured = slice(None) if series.whole else series.observed
    target, scale = unit(np.asarray(series.target, np.float64), measured)
    filled = None
    if fill_gaps and not series.whole:
        target, filled = fill(target), ~series.observed
    past, future = (
        _stack([_beside(row, len(series)) for row in rows])
        for rows in (series.past_covariates, series.future_covariates)
    )
    return Series(np.asarray(target, np.float32), past, future, filled, series.season), scale


def restore(forecast: Forecast, scale: Scale, levels: Sequence[float]) -> Forecast:
    """The forecast in the input's unit; quantiles do not cross one another or the median.

    Raises:
        ModelFailed: the model returned NaN or infinity.
    """
    made = np.concatenate((forecast.median[None], forecast.quantiles))
    if not np.isfinite(made).all():
        raise ModelFailed("the model's answer holds values that are not numbers")
    # If the model's bound equals a value of the series, rounding must not exclude that value: round bounds outward.
    rounding = ROUNDING * np.maximum(1, np.abs(made)) + ROUNDING_BACK * abs(scale.centre) / scale.spread
    outward = np.array([0.0, *((level > 0.5) - (level < 0.5) for level in levels)])[:, None]
    made = scale.restore(made + outward * rounding)
    median, rows = made[0], made[1:]
    order = sorted(range(len(levels)), key=levels.__getitem__)
    rows[order] = np.sort(rows, axis=0)
    for row, level in zip(rows, levels, strict=True):
        if level == 0.5:
            row[:] = median
        else:
            (np.minimum if level < 0.5 else np.maximum)(row, median, out=row)
    return Forecast(median, rows)


def constant(horizon: int, levels: Sequence[float], scale: Scale) -> Forecast:
    """The forecast for a constant series."""
    return Forecast(np.full(horizon, scale.centre), np.full((len(levels), horizon), scale.centre))


def forecast(family: Family, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
    """Scale series of any unit, run the model and scale back, all in this thread.

    Raises:
        ValueError: a series has no observed point in the model's context.
    """
    fits = [fitted(series, family, horizon) for series in batch]
    if not all(len(fit.series) for fit in fits):
        raise ValueError("expected an observed point among those that the model looks at")
    prepared = [standardise(fit.series, not family.capabilities.missing_values) for fit in fits]
    answers: list[Forecast | None] = [None] * len(batch)
    for lead in sorted({fit.lead for fit in fits}):
        rows = [i for i, fit in enumerate(fits) if fit.lead == lead and prepared[i][1].spread]
        made = family.forecast([prepared[i][0] for i in rows], lead, levels) if rows else []
        for i, answer in zip(rows, made, strict=True):
            answers[i] = restore(answer.last(horizon), prepared[i][1], levels)
    return [answer or constant(horizon, levels, scale) for answer, (_, scale) in zip(answers, prepared, strict=True)]


def impute(model: Imputer, batch: Sequence[Series]) -> list[FloatArray]:
    """Scale series of any unit, fill their gaps and scale back, all in this thread; shapes (n,), float64."""
    prepared = [standardise(series, False) for series in batch]
    moving = [series for series, scale in prepared if scale.spread]
    filled = iter(model.impute(moving) if moving else [])
    return [
        completed(next(filled), scale) if scale.spread else np.full(len(series), scale.centre)
        for series, scale in prepared
    ]


def completed(filled: FloatArray, scale: Scale) -> FloatArray:
    """A filled series in the input's unit, float64.

    Raises:
        ModelFailed: the model returned NaN or infinity.
    """
    if not np.isfinite(filled).all():
        raise ModelFailed("the model's answer holds values that are not numbers")
    return scale.restore(filled)


def fill(values: FloatArray) -> FloatArray:
    """Interpolate gaps linearly and repeat the outermost value at the ends; if all are missing, change nothing."""
    observed = ~np.isnan(values)
    if observed.all() or not observed.any():
        return values
    index = np.arange(len(values))
    return np.interp(index, index[observed], values[observed])


def _beside(row: FloatArray, points: int) -> FloatArray:
    """Scale a covariate by its first ``points`` values, float32; gaps stay gaps."""
    values = np.asarray(row, np.float64)
    measured = ~np.isnan(values)
    measured[points:] = False
    with np.errstate(over="ignore"):
        scaled, _ = unit(values, measured)
    return np.clip(scaled, -FARTHEST, FARTHEST).astype(np.float32)


def unit(values: FloatArray, measured: NDArray[np.bool_] | slice) -> tuple[FloatArray, Scale]:
    """Centre and scale the values by the mean and the spread of the ``measured`` ones; float64, NaN stays NaN."""
    observed = values[measured]
    low, high = (float(observed.min()), float(observed.max())) if observed.size else (0.0, 0.0)
    if low == high:
        return values - high, Scale(high, 0.0)
    # First subtract the lowest value, which is exact for near values, then scale the range to 1: squares of 1e200 and
    # of 1e-200 are out of float64's range. Values are halved where high - low itself would be out of range.
    part = 0.5 if max(-low, high) > LARGEST / 4 else 1.0
    base, span = low * part, high * part - low * part
    scaled = (values * part - base) / span
    mean = float(scaled[measured].mean())
    scaled -= mean
    raised = scaled[measured]
    deviation = math.sqrt(float(raised @ raised) / raised.size)
    scaled /= deviation
    return scaled, Scale((base + mean * span) / part, deviation * span / part)


def _stack(rows: list[FloatArray]) -> FloatArray:
    return np.stack(rows) if rows else np.empty((0, 0), np.float32)
