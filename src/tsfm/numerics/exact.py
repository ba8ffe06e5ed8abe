"""Whole numbers that a float64 would round: the level of a counter near 10^18 is taken off before it becomes one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tsfm.series import FloatArray

EXACT = 2**53  # up to here every whole number is a float64
LEAST, MOST = -(2**63), 2**64 - 1  # those of databases and of JSON writers; beyond, float64 must do
Number = int | float


def taken_off(values: Sequence[Number | None], array: FloatArray) -> tuple[FloatArray, int]:
    """The first of whole numbers taken off all of them, where a float64 would round some.

    Args:
        values: as they came; None and NaN are missing.
        array: the same as float64.

    Returns:
        the numbers, and what was taken off: 0 unless all are whole and some are beyond 2^53.
    """
    largest = np.abs(array[~np.isnan(array)]).max(initial=0)
    if not EXACT < largest <= MOST or not all(isinstance(v, int) or v is None or v != v for v in values):
        return array, 0
    origin = next(v for v in values if isinstance(v, int))
    return np.array([v - origin if isinstance(v, int) else math.nan for v in values], np.float64), origin


def placed(values: FloatArray, origin: int) -> FloatArray | list[Number]:
    """Back where ``taken_off`` took them from: whole numbers of at most 64 bits, beyond those the nearest float64."""
    if not origin:
        return values
    return [kept(origin + round(value)) for value in values.tolist()]


def kept(value: Number) -> Number:
    """A number as a writer of JSON takes it."""
    return float(value) if isinstance(value, int) and not LEAST <= value <= MOST else value


def rounded(values: Sequence[Number | None]) -> bool:
    """Whether some of them would not come back from a float64 as they are."""
    return any(isinstance(value, int) and abs(value) > EXACT for value in values)
