"""Keep whole numbers exact that a float64 would round: subtract the level of a counter near 10^18 before conversion."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tsfm.series import FloatArray

EXACT = 2**53  # float64 represents every whole number up to here
LEAST, MOST = -(2**63), 2**64 - 1  # the range of databases and JSON writers; larger numbers stay float64
Number = int | float


def offset_removed(values: Sequence[Number | None], array: FloatArray) -> tuple[FloatArray, int]:
    """Subtract the first whole number from all, if a float64 would round some of them.

    Args:
        values: the numbers as received; None and NaN are missing.
        array: the same numbers as float64.

    Returns:
        the differences, and the number subtracted: 0 unless all are whole and some are beyond 2^53.
    """
    largest = np.abs(array[~np.isnan(array)]).max(initial=0)
    if not EXACT < largest <= MOST or not all(isinstance(v, int) or v is None or v != v for v in values):
        return array, 0
    origin = next(v for v in values if isinstance(v, int))
    return np.array([v - origin if isinstance(v, int) else math.nan for v in values], np.float64), origin


def offset_added(values: FloatArray, origin: int) -> FloatArray | list[Number]:
    """Add ``origin`` back: whole numbers of at most 64 bits, for larger ones the nearest float64."""
    if not origin:
        return values
    return [json_number(origin + round(value)) for value in values.tolist()]


def json_number(value: Number) -> Number:
    """A number in a form that a JSON writer accepts."""
    return float(value) if isinstance(value, int) and not LEAST <= value <= MOST else value


def rounded(values: Sequence[Number | None]) -> bool:
    """Whether conversion to float64 and back would change some of the numbers."""
    return any(isinstance(value, int) and abs(value) > EXACT for value in values)
