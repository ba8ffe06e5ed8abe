"""Coverage of the intervals: the share of points inside them, at three levels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench import causal, common, made, real

LEVELS = (0.5, 0.8, 0.95)
ORIGINS = 12
RANDOM = {"timemoe": "50M", "tdtsfm": "v1"}


def run(origins: int = ORIGINS, keys: Sequence[str] = tuple(RANDOM), repeats: int = made.REPEATS) -> dict[str, float]:
    """Mean coverage over series: of Fracast, and of conformal intervals around persistence and random weights.

    A model without skill cannot cover a trend, so models with random weights are measured on stationary series.
    """
    from tsfm import families
    from tsfm.series import Runtime

    runtime = Runtime(threads=common.THREADS)
    found = made.run(repeats)
    found |= coverage("persistence", causal.Persistence(), real.reporting(), origins)
    found |= coverage("persistence_choosing", causal.Persistence(), real.choosing(), origins)
    found |= coverage("fracast", families.load("fracast", None, runtime), real.reporting(), origins)
    for family in keys:
        model = families.load(family, common.checkpoint(family, RANDOM[family]), runtime)
        found |= coverage(family, model, real.stationary(), origins)
    return found


def coverage(name: str, model: object, series: Sequence[real.Real], origins: int) -> dict[str, float]:
    """``coverage_<name>_<level>`` of a family's intervals over rolling origins."""
    from tsfm.numerics import scaling
    from tsfm.series import Series

    tails = [(1 - level) / 2 for level in LEVELS]
    levels = [*tails, *(1 - tail for tail in tails)]
    inside = []
    for one in series:
        contexts, after = zip(*one.origins(origins), strict=True)
        answers = scaling.forecast(model, [Series(context) for context in contexts], one.horizon, levels)
        bounds = np.stack([answer.quantiles for answer in answers])  # (origins, lower three and upper three, horizon)
        truth = np.stack(after)[:, None]
        within = (bounds[:, : len(LEVELS)] <= truth) & (truth <= bounds[:, len(LEVELS) :])
        inside.append(within.mean(axis=(0, 2)))
    means = np.mean(inside, axis=0)
    return {f"coverage_{name}_{level}": float(mean) for level, mean in zip(LEVELS, means, strict=True)}
