"""How far the answers of two models for one series are apart, in units of the series' deviation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tsfm.series import FloatArray


@dataclass(frozen=True)
class Difference:
    """Over all numbers of one or more answers."""

    largest: float
    mean: float


def between(one: FloatArray, other: FloatArray, deviation: float) -> FloatArray:
    """The distance of each number from its counterpart, in deviations; of the answers' shape.

    Raises:
        ValueError: the answers differ in shape.
    """
    if one.shape != other.shape:
        raise ValueError(f"expected answers of one shape, got {one.shape} and {other.shape}")
    distance: FloatArray = np.abs(one.astype(np.float64) - other) / deviation
    return distance


def deviation(history: FloatArray) -> float:
    """The unit: the standard deviation of the observed points; 1 for a constant series.

    Args:
        history: shape (n,), NaN where a point is missing; at least one is observed.
    """
    return float(np.nanstd(history.astype(np.float64))) or 1.0


def summary(distances: Sequence[FloatArray]) -> Difference:
    """The largest and the mean of all numbers; NaN counts as the largest."""
    every = np.concatenate([distance.ravel() for distance in distances])
    return Difference(float(every.max()), float(every.mean()))
