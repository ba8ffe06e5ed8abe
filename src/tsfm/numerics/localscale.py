"""Scale past residuals by the ratio of the current size of a model's errors to their size at the time.

The scale at an origin is an exponentially weighted mean of the absolute errors before it. The series itself shows how
closely the errors follow this scale. Noise of constant size does not follow it, and the residuals are not changed.
After a change of variance the errors follow it. The span of the mean and the power of the scale are those that would
have predicted the past errors best.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from numpy.typing import NDArray

from tsfm.series import FloatArray

# Chosen by the Winkler score of the benchmark's wide set (bench/real.py), like HALF_LIFE in residuals.py.
SPANS = (0.05, 0.1, 0.2)  # spans of the mean, as fractions of the number of origins
SHORTEST = 4.0  # shortest span, in errors
POWERS = (0.0, 0.5, 1.0)
USUAL = 0.5  # the power for a series with too few errors to choose one
WORTH = 4.0  # weight of ``USUAL``: the penalty, in errors, for a power that differs from it by 1
PRIOR = 2.0  # number of errors of mean size that every scale starts with


def now_over_then(residuals: FloatArray, there: NDArray[np.bool_], near: int) -> FloatArray:
    """The factor by which the residuals of each origin are multiplied.

    Args:
        residuals: shape (leads, m), origins ascending.
        there: shape (leads, m), False where a residual is ignored.
        near: number of first leads that end at or before the next origin, so that their errors are known by then.

    Returns:
        shape (m,), positive.
    """
    known = there[:near]
    number = known.sum(0)
    sums = np.abs(np.where(known, residuals[:near], 0)).sum(0)
    if not sums.any():
        return np.ones(len(sums))
    sums *= number.sum() / sums.sum()
    shortest = SHORTEST / near
    scales = [np.log(_running_mean(sums, number, max(part * len(sums), shortest))) for part in SPANS]
    power, scale = min(product(POWERS, scales), key=lambda pair: _misfit(sums, number, *pair))
    factors: FloatArray = np.exp(power * (scale[-1] - scale[:-1]))
    return factors


def _running_mean(sums: FloatArray, number: NDArray[np.int64], span: float) -> FloatArray:
    """Mean of the errors before each origin, weighted by exp(-age / span); the last entry uses all; shape (m + 1,)."""
    grown = np.exp(np.arange(len(sums)) / span)
    totals = np.cumsum([sums * grown, number * grown], axis=1) / grown
    total, weight = np.pad(totals, ((0, 0), (1, 0)))
    mean: FloatArray = (total + PRIOR) / (weight + PRIOR)
    return mean


def _misfit(sums: FloatArray, number: NDArray[np.int64], power: float, scale: FloatArray) -> float:
    """Negative log-likelihood of exponentially distributed errors plus the penalty for ``power``.

    ``scale`` holds logarithms, shape (m + 1,).
    """
    then, all_of_them = scale[:-1], int(number.sum())
    relative = math.log((sums * np.exp(-power * then)).sum() / all_of_them) + power * float(number @ then) / all_of_them
    return all_of_them * relative + WORTH * (power - USUAL) ** 2
