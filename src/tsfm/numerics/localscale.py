"""How large a model's errors are now against how large they were: what a residual of calmer times is worth today.

The scale at an origin is an exponentially weighted mean of the absolute errors before it. How closely the errors
follow it is read off the series itself: noise of one size does not, and its residuals stay as they are; after a
change of variance they do. Over what span the mean goes and to what power it counts is chosen by which of them would
have foretold the errors best.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from numpy.typing import NDArray

from tsfm.series import FloatArray

# Chosen by the Winkler score of the benchmark's wide set (bench/real.py), as HALF_LIFE of the residuals.
SPANS = (0.05, 0.1, 0.2)  # of the mean, as parts of the number of origins
SHORTEST = 4.0  # errors
POWERS = (0.0, 0.5, 1.0)
USUAL = 0.5  # the power of a series that tells too little
WORTH = 4.0  # of ``USUAL``, in errors, for a power that is 1 away
PRIOR = 2.0  # errors of the mean size that every scale begins with


def now_over_then(residuals: FloatArray, there: NDArray[np.bool_], near: int) -> FloatArray:
    """By how much the residuals of each origin are to be multiplied.

    Args:
        residuals: shape (leads, m), of ascending origins.
        there: shape (leads, m), False where a residual is to be passed over.
        near: how many of the first leads end by the next origin, where their errors are known.

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
    """Of the errors before each origin, weighted by exp(-age / span), and of all; shape (m + 1,)."""
    grown = np.exp(np.arange(len(sums)) / span)
    totals = np.cumsum([sums * grown, number * grown], axis=1) / grown
    total, weight = np.pad(totals, ((0, 0), (1, 0)))
    mean: FloatArray = (total + PRIOR) / (weight + PRIOR)
    return mean


def _misfit(sums: FloatArray, number: NDArray[np.int64], power: float, scale: FloatArray) -> float:
    """Minus the log-likelihood of exponentially distributed errors; ``scale`` in logarithms, shape (m + 1,)."""
    then, all_of_them = scale[:-1], int(number.sum())
    relative = math.log((sums * np.exp(-power * then)).sum() / all_of_them) + power * float(number @ then) / all_of_them
    return all_of_them * relative + WORTH * (power - USUAL) ** 2
