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

# Chosen on the benchmark's half for choosing (bench/real.py), as HALF_LIFE of the residuals.
SPANS = (0.05, 0.1, 0.2)  # of the mean, as parts of the number of origins
SHORTEST = 4.0  # origins
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
    seen = number > 0
    errors = np.abs(np.where(known, residuals[:near], 0)).sum(0) / np.maximum(number, 1)
    if not errors.any():
        return np.ones(len(errors))
    errors /= errors[seen].mean()
    scales = [np.log(_running_mean(errors, seen, max(part * len(errors), SHORTEST))) for part in SPANS]
    power, scale = min(product(POWERS, scales), key=lambda pair: _misfit(errors[seen], pair[0], pair[1][:-1][seen]))
    factors: FloatArray = np.exp(power * (scale[-1] - scale[:-1]))
    return factors


def _running_mean(errors: FloatArray, seen: NDArray[np.bool_], span: float) -> FloatArray:
    """Of what is before each origin, weighted by exp(-age / span), and of all; shape (m + 1,)."""
    grown = np.exp(np.arange(len(errors)) / span)
    sums = np.cumsum([errors * grown, seen * grown], axis=1) / grown
    total, weight = np.pad(sums, ((0, 0), (1, 0)))
    mean: FloatArray = (total + PRIOR) / (weight + PRIOR)
    return mean


def _misfit(errors: FloatArray, power: float, scale: FloatArray) -> float:
    """Minus the log-likelihood of exponentially distributed errors; ``scale`` in logarithms, both of shape (k,)."""
    relative = math.log((errors * np.exp(-power * scale)).mean()) + power * float(scale.mean())
    return len(errors) * relative + WORTH * (power - USUAL) ** 2
