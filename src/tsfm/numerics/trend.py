"""Series with a strong linear trend, forecast by their differences, and how bands of quantiles grow with the horizon.

The rules and constants are those of tirex-2 0.4.0 (``PostProcessor`` and ``PostProcessorConfig``).
"""

from __future__ import annotations

import numpy as np

from tsfm.series import FloatArray

FEWEST = 4  # observed points
DEVIATIONS, EXPLAINED = 1.5, 0.87  # of a strong trend: its rise in deviations of the series, its part of the variance
BAND, GROWTH = 0.90**0.5, 0.02  # of quantiles around the median, and the exponent of the step
SUM_BAND, SUM_GROWTH = 1.68**0.5, 0.01  # the same where steps add up


def is_strong(values: FloatArray) -> bool:
    """Whether a straight line explains most of a series, shape (n,) with NaN at gaps, and rises enough."""
    at = np.flatnonzero(~np.isnan(values)).astype(np.float64)
    observed = values[at.astype(np.intp)].astype(np.float64)
    if len(at) < FEWEST:
        return False
    away, passed = observed - observed.mean(), at - at.mean()
    deviation = float(np.sqrt(away @ away / (len(at) - 1)))
    if deviation < 1e-12:
        return False
    slope = float(away @ passed / (passed @ passed)) / deviation
    explained = float(away @ passed) ** 2 / float((away @ away) * (passed @ passed))
    return abs(slope) * len(values) >= DEVIATIONS and explained >= EXPLAINED


def differences(values: FloatArray) -> FloatArray:
    """From each point to the next, shape (n,), first 0; NaN beside a gap."""
    return np.concatenate((np.zeros_like(values[:1]), np.diff(values)))


def calibrated(values: FloatArray) -> FloatArray:
    """Quantiles of a series, shape (q, horizon) with the median in the middle, with their bands calibrated."""
    median = values[len(values) // 2]
    return np.asarray(median + BAND * _steps(values) ** GROWTH * (values - median))


def summed(values: FloatArray, last: float) -> FloatArray:
    """Quantiles of a series whose differences have the quantiles ``values``, behind its ``last`` observed point.

    The median adds up; distances from it add up as those of independent steps do.
    """
    median = values[len(values) // 2]
    apart = values - median
    side = np.sign(apart.sum(axis=-1, keepdims=True))
    band = side * np.sqrt((apart**2).cumsum(axis=-1)) * _steps(values) ** SUM_GROWTH
    return np.asarray(last + median.cumsum() + SUM_BAND * band)


def _steps(values: FloatArray) -> FloatArray:
    return np.arange(1.0, values.shape[-1] + 1)
