"""Do intervals hold what they promise? Share of real points inside them, at three levels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench import common, real

LEVELS = (0.5, 0.8, 0.95)
ORIGINS = 24


def run(origins: int = ORIGINS) -> dict[str, float]:
    """Mean over series: Fracast with its real weights, as it is."""
    from tsfm import families
    from tsfm.series import Runtime

    model = families.load("fracast", None, Runtime(threads=common.THREADS))
    return coverage("fracast", model, real.series(), origins)


def coverage(name: str, model: object, series: Sequence[real.Real], origins: int) -> dict[str, float]:
    """``coverage_<name>_<level>`` of a family's intervals over rolling origins."""
    from tsfm import scaling
    from tsfm.series import Series

    tails = [(1 - level) / 2 for level in LEVELS]
    asked = [*tails, *(1 - tail for tail in tails)]
    inside = []
    for one in series:
        contexts, after = zip(*one.origins(origins), strict=True)
        answers = scaling.forecast(model, [Series(context) for context in contexts], one.horizon, asked)
        bounds = np.stack([answer.quantiles for answer in answers])  # (origins, lower three and upper three, horizon)
        truth = np.stack(after)[:, None]
        within = (bounds[:, : len(LEVELS)] <= truth) & (truth <= bounds[:, len(LEVELS) :])
        inside.append(within.mean(axis=(0, 2)))
    means = np.mean(inside, axis=0)
    return {f"coverage_{name}_{level}": float(mean) for level, mean in zip(LEVELS, means, strict=True)}
