"""Chooses how many digits are shown: enough to distinguish neighbouring values, and one more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

MOST_DECIMALS, LARGEST_FIXED = 9, 1e15
MOST_DIGITS = 17  # a double holds no more


def step(values: Sequence[float], *widths: float) -> float:
    """The smallest difference that must stay visible: the median step of the values, or a smaller width; 0: none."""
    known = [value for value in values if math.isfinite(value)]
    steps = [abs(b - a) for a, b in pairwise(known) if b != a and math.isfinite(b - a)]
    sizes = [median(steps)] if steps else []
    return min([*sizes, *(width for width in widths if width > 0 and math.isfinite(width))], default=0.0)


def form(smallest: float, largest: float) -> str:
    """A format for numbers up to ``largest`` in size that shows differences of ``smallest``."""
    if not smallest:
        return ".15g"  # all values are equal: show their digits
    exponent = math.floor(math.log10(smallest)) - 1  # of the last digit that is shown
    if -exponent <= MOST_DECIMALS and largest < LARGEST_FIXED:
        return f".{max(-exponent, 0)}f"
    top = math.floor(math.log10(largest)) if largest else exponent
    return f".{min(max(top - exponent, 1), MOST_DIGITS - 1)}e"
