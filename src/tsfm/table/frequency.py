"""The step between times, as pandas' alias or an ISO 8601 duration."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tsfm.table.times import Instants

FEWEST = 3  # times that pandas needs
LATEST = 500  # times at the end that are looked at
UNITS = (("D", 86_400 * 10**9), ("H", 3_600 * 10**9), ("M", 60 * 10**9), ("S", 10**9))


def of(instants: Instants | None) -> str | None:
    """The step of times in ns, oldest first; None: they have none.

    Missing rows and single shifted times do not matter: the longest even piece at the end decides, else the median.
    """
    if instants is None or len(instants) < FEWEST:
        return None
    moments = pd.DatetimeIndex(instants[-LATEST:])
    size = len(moments)
    while size >= FEWEST:
        if alias := _alias(moments[-size:]):
            return alias
        size //= 2
    return _duration(int(np.median(np.diff(instants))))


def _alias(moments: pd.DatetimeIndex) -> str | None:
    try:
        found: str | None = pd.infer_freq(moments)
    except ValueError:  # the times fall or repeat
        return None
    return found


def _duration(step: int) -> str | None:
    """``PT15M`` for 900 s; None where it is shorter than a second."""
    for unit, size in UNITS:
        if step >= size and step % size == 0:
            return f"P{step // size}D" if unit == "D" else f"PT{step // size}{unit}"
    return None
