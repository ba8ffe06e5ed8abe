"""Coverage on synthetic series: short ones, gaps, and a change of variance.

If a key covers several kinds of series, its value is the coverage furthest from the nominal level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from bench import causal

REPEATS = 400
LENGTHS = (50, 100, 200)
LEADS = (1, 12, 24, 48)
POINTS, AHEAD = 500, 24
MISSING = slice(100, 400)
NEWEST_MISSING = 20

Make = Callable[[np.random.Generator, int], np.ndarray]


def run(repeats: int = REPEATS) -> dict[str, float]:
    """Every ``coverage_short_*``, ``coverage_gap_*`` and ``coverage_variance_*``."""
    return short(repeats) | gaps(repeats) | variance(repeats)


def noise(source: np.random.Generator, points: int) -> np.ndarray:
    return source.normal(size=points)


def walk(source: np.random.Generator, points: int) -> np.ndarray:
    return source.normal(size=points).cumsum()


def autoregression(source: np.random.Generator, points: int) -> np.ndarray:
    values = source.normal(size=points)
    values[0] /= (1 - causal.MEMORY**2) ** 0.5
    for at in range(1, points):
        values[at] += causal.MEMORY * values[at - 1]
    return values


def seasons(source: np.random.Generator, points: int) -> np.ndarray:
    at = np.arange(points) + causal.SEASON * source.random()
    return 3 * np.sin(2 * np.pi * at / causal.SEASON) + source.normal(size=points)


def short(repeats: int) -> dict[str, float]:
    """``coverage_short_<points>_<lead>``: coverage of the 0.95 interval around the best forecast of each kind."""
    kinds: list[tuple[Make, causal.Past]] = [
        (walk, causal.repeated),
        (autoregression, causal.decayed),
        (seasons, causal.seasonal),
    ]
    found = {}
    for points in LENGTHS:
        shares = []
        for make, past in kinds:
            source, inside = np.random.default_rng(points), []
            for _ in range(repeats):
                values = make(source, points + LEADS[-1])
                low, high = causal.quantiles(past, values[:points], LEADS[-1], [0.025, 0.975])
                inside.append((low <= values[points:]) & (values[points:] <= high))
            shares.append(np.mean(inside, axis=0))
        for lead in LEADS:
            found[f"coverage_short_{points}_{lead}"] = _furthest((share[lead - 1] for share in shares), 0.95)
    return found


def gaps(repeats: int) -> dict[str, float]:
    """``coverage_gap_<where>_<level>``: coverage around persistence, through ``scaling.forecast`` as for a request."""
    found = {}
    for where, missing in (("middle", MISSING), ("end", slice(POINTS - NEWEST_MISSING, POINTS))):
        shares = []
        for make in (noise, autoregression, walk):
            source = np.random.default_rng(7)
            shares.append(_answered([make(source, POINTS + AHEAD) for _ in range(repeats)], missing))
        for at, level in enumerate((0.5, 0.8)):
            found[f"coverage_gap_{where}_{level}"] = _furthest((share[at] for share in shares), level)
    return found


def variance(repeats: int) -> dict[str, float]:
    """``coverage_variance_x4``, ``_d4``: 0.8 around persistence, 4 or 1/4 times the deviation in the last fifth."""
    found = {}
    for name, factor in (("x4", 4.0), ("d4", 0.25)):
        loudness = np.where(np.arange(POINTS + AHEAD) < POINTS * 4 // 5, 1.0, factor)
        shares = []
        for accumulate in (np.asarray, np.cumsum):
            source = np.random.default_rng(8)
            made = [accumulate(noise(source, POINTS + AHEAD) * loudness) for _ in range(repeats)]
            shares.append(_answered(made, slice(0))[1])
        found[f"coverage_variance_{name}"] = _furthest(shares, 0.8)
    return found


def _answered(all_values: list[np.ndarray], missing: slice) -> tuple[float, float]:
    """Shares of the points after POINTS inside the 0.5 and 0.8 intervals, through ``scaling.forecast``."""
    from tsfm.numerics import scaling
    from tsfm.series import Series

    known = np.stack(all_values)[:, :POINTS].copy()
    known[:, missing] = np.nan
    answers = scaling.forecast(causal.Persistence(), [Series(row) for row in known], AHEAD, [0.25, 0.75, 0.1, 0.9])
    bounds = np.stack([answer.quantiles for answer in answers])
    truth = np.stack(all_values)[:, POINTS:]
    half, most = (((bounds[:, i] <= truth) & (truth <= bounds[:, i + 1])).mean() for i in (0, 2))
    return float(half), float(most)


def _furthest(shares: Iterable[float], nominal: float) -> float:
    return float(max(shares, key=lambda share: abs(share - nominal)))
