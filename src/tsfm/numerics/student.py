"""Quantiles of Student's t for any number of degrees of freedom, by Hill's expansion, without scipy.

Source: Hill, Algorithm 396: Student's t-quantiles, Communications of the ACM 13 (10), 1970. Near the centre it is an
expansion about the normal; in the tails it is an expansion in powers of the tail's probability. The relative error is
within 1e-5 of the exact quantile for 3 or more degrees of freedom and every tail in (0, 0.5).
"""

from __future__ import annotations

import math

import numpy as np

from tsfm.series import FloatArray


def quantile(tail: FloatArray, z: FloatArray, freedom: FloatArray) -> FloatArray:
    """The value that Student's t exceeds with probability ``tail``; shapes (n,).

    Args:
        tail: each in (0, 0.5).
        z: the normal's quantiles at the same tails.
        freedom: degrees of freedom, each at least 2; need not be whole.
    """
    # Names follow the paper, where P is the probability of both tails together.
    a = 1 / (freedom - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * np.sqrt(a * (math.pi / 2)) * freedom
    y = (d * 2 * tail) ** (2 / freedom)
    squared = np.where(y > 0.05 + a, _centre(z, freedom, a, c, d), _tail(y, freedom, d))
    return np.sqrt(freedom * squared)


def _centre(z: FloatArray, freedom: FloatArray, a: FloatArray, c: FloatArray, d: FloatArray) -> FloatArray:
    x, y, b = -z, z**2, 48 / a**2
    c = np.where(freedom < 5, c + 0.3 * (freedom - 4.5) * (x + 0.6), c)
    c = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c
    y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
    squared: FloatArray = np.expm1(a * y**2)
    return squared


def _tail(y: FloatArray, freedom: FloatArray, d: FloatArray) -> FloatArray:
    n = freedom
    inner = 1 / (((n + 6) / (n * y) - 0.089 * d - 0.822) * (n + 2) * 3) + 0.5 / (n + 4)
    squared: FloatArray = (inner * y - 1) * (n + 1) / (n + 2) + 1 / y
    return squared
