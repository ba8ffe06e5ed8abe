"""Anomalies put into real series, reproducibly: spikes, shifts, flats, a changed season, a changed variance."""

from __future__ import annotations

import zlib

import numpy as np

from bench import real

KINDS = ("spikes", "shift", "flat", "season", "variance")
FEWEST, NEWEST = 180, 1000  # points of a series that is used, and how many of them


def cases(series: list[real.Real]) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Name, values and labels: each kind for each series; a series without a season has none to change."""
    found = []
    for one in series:
        for at, kind in enumerate(KINDS):
            if kind != "season" or one.season >= 4:
                source = np.random.default_rng([zlib.crc32(one.name.encode()), at])
                found.append((f"{one.name}/{kind}", *inject(one.values[-NEWEST:], one.season, kind, source)))
    return found


def usable(series: list[real.Real]) -> list[real.Real]:
    """Those with enough points; the glucose of a person with diabetes is never ordinary."""
    return [one for one in series if len(one.values) >= FEWEST and one.name != "glucose"]


def inject(values: np.ndarray, season: int, kind: str, source: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The series with anomalies of one kind, and True where they are; their size is in deviations from the season."""
    values, points, labels = values.astype(np.float64), len(values), np.zeros(len(values), np.bool_)
    unit = _deviation(values, season)
    if kind == "spikes":
        at = source.choice(np.arange(points // 5, points - 2), max(3, points // 150), replace=False)
        values[at] += source.choice([-1, 1], len(at)) * source.uniform(4, 8, len(at)) * unit
        labels[at] = True
        return values, labels
    length = int(np.clip(2 * season, 8, points // 6) if kind == "season" else np.clip(points // 25, 8, 40))
    start = int(source.integers(points // 4, points - length - 5))
    span = slice(start, start + length)
    if kind == "shift":
        values[span] += source.choice([-1, 1]) * source.uniform(3, 6) * unit
    elif kind == "flat":
        values[span] = values[start]
    elif kind == "season":
        values[span] = np.roll(values[span], max(1, season // 2))[::-1]
    else:
        values[span] += source.normal(0, 3 * unit, length)
    labels[span] = True
    return values, labels


def _deviation(values: np.ndarray, season: int) -> float:
    lag = season if 3 * season < len(values) else 1
    steps = (values[lag:] - values[:-lag]) / 2**0.5
    robust = 1.4826 * float(np.median(np.abs(steps - np.median(steps))))
    return robust or float(steps.std()) or float(values.std())
