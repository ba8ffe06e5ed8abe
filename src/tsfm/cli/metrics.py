"""Reads a service's metrics, in Prometheus' text form."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

_SAMPLE = re.compile(r"^([a-zA-Z_:]\w*)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Samples = list[tuple[str, dict[str, str], float]]
"""Name, labels and value of each sample."""


def read(text: str) -> Samples:
    """The samples of an answer of GET /metrics; comments and lines of another form are left out."""
    return [(name, dict(_LABEL.findall(labels or "")), float(value)) for name, labels, value in _SAMPLE.findall(text)]


def total(samples: Samples, name: str) -> float:
    """The sum of a metric over all its labels; 0 if it has no samples."""
    return math.fsum(value for found, _, value in samples if found == name)


def quantile(samples: Samples, histogram: str, share: float) -> float | None:
    """An upper bound of a quantile: the end of the bucket in which it lies. None: nothing was observed."""
    buckets = sorted(_buckets(samples, f"{histogram}_bucket"))
    if not buckets or not buckets[-1][1]:
        return None
    return next(end for end, count in buckets if count >= share * buckets[-1][1])


def _buckets(samples: Samples, name: str) -> Iterator[tuple[float, float]]:
    return ((float(labels["le"]), value) for found, labels, value in samples if found == name and "le" in labels)
