"""Covariates that hold categories, as numbers that a model can take.

The encodings are those of Chronos-2 (chronos-forecasting 2.3.2, ``chronos2/preprocess.py``). For one target each
category becomes the mean of the target where it holds, drawn towards the mean of all points by one point's weight. For
several targets it becomes a number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tsfm.series import FloatArray

SMOOTH = 1.0  # points of the overall mean that each category's mean is mixed with


def target_encoded(
    past: Sequence[str | None], future: Sequence[str | None], target: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Past and future of a covariate as means of the target, float64.

    A missing value is a category of its own. A category that the past does not have gets the mean of all points.

    Args:
        past: one category for each point of the target.
        target: shape (n,); missing points (NaN) count for no category.
    """
    codes = {category: code for code, category in enumerate(dict.fromkeys(past))}
    unseen = len(codes)
    at = np.array([codes[category] for category in past], np.intp)
    observed = np.isfinite(target)
    values = np.where(observed, target, 0.0)
    counts = np.bincount(at, weights=observed, minlength=unseen + 1)
    sums = np.bincount(at, weights=values, minlength=unseen + 1)
    mean = sums.sum() / max(counts.sum(), 1)
    means = (SMOOTH * mean + sums) / (SMOOTH + counts)
    ahead = np.array([codes.get(category, unseen) for category in future], np.intp)
    return means[at], means[ahead]


def numbered(past: Sequence[str | None], future: Sequence[str | None]) -> tuple[FloatArray, FloatArray]:
    """Past and future of a covariate as places of the categories in the order of their texts, float64.

    A missing value is the last category. A category that the past does not have is missing (NaN).
    """
    order: list[str | None] = [*sorted({category for category in past if category is not None}), None]
    codes = {category: float(code) for code, category in enumerate(order)}
    return np.array([codes[one] for one in past]), np.array([codes.get(one, np.nan) for one in future])
