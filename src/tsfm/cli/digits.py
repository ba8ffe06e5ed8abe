"""How many digits a person needs: as many as tell neighbouring values apart, and one more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

MOST_DECIMALS, LARGEST_FIXED = 9, 1e15
MOST_DIGITS = 17  # a double holds no more


def step(values: Sequence[float], *widths: float) -> float:
    """The size of what must be told apart: the middle one of the values' steps, or a smaller width; 0: nothing."""
    known = [value for value in values if math.isfinite(value)]
    steps = [abs(b - a) for a, b in pairwise(known) if b != a and math.isfinite(b - a)]
    sizes = [median(steps)] if steps else []
    return min([*sizes, *(width for width in widths if width > 0 and math.isfinite(width))], default=0.0)


def form(smallest: float, largest: float) -> str:
    """A format for numbers up to ``largest`` in size of which ``smallest`` is a step that must be seen."""
    if not smallest:
        return ".15g"  # all the same, whose digits are its own
    place = math.floor(math.log10(smallest)) - 1  # of the last digit that is shown
    if -place <= MOST_DECIMALS and largest < LARGEST_FIXED:
        return f".{max(-place, 0)}f"
    top = math.floor(math.log10(largest)) if largest else place
    return f".{min(max(top - place, 1), MOST_DIGITS - 1)}e"
