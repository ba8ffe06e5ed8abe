"""The wide set of real series (data/README.md), its two halves, rolling origins, and synthetic stationary series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CONTEXT = 512
DATA = Path(__file__).parent / "data" / "series.npz"


@dataclass(frozen=True)
class Real:
    """One series and its season in points."""

    name: str
    values: np.ndarray
    season: int

    @property
    def horizon(self) -> int:
        """Steps to forecast: fewer for a short series."""
        return 24 if len(self.values) >= 200 else 12 if len(self.values) >= 80 else 6

    def origins(self, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs of context (at most CONTEXT points) and the true values after it."""
        first = min(CONTEXT, len(self.values) // 2)
        for at in np.unique(np.linspace(first, len(self.values) - self.horizon, count).astype(int)):
            yield self.values[max(0, at - CONTEXT) : at], self.values[at : at + self.horizon]


def series() -> list[Real]:
    """All series of the wide set, sorted by name: trends, seasons, levels, returns and counts, 36 to 17,000 points."""
    found = []
    with np.load(DATA) as stored:
        for key in sorted(stored.files):
            name, _, season = key.rpartition("/")
            found.append(Real(name, stored[key].astype(np.float64), int(season)))
    return found


def choosing() -> list[Real]:
    """The half for choosing the constants of ``tsfm.numerics.residuals`` and ``tsfm.numerics.localscale``."""
    return series()[::2]


def reporting() -> list[Real]:
    """The other half, for reporting coverage."""
    return series()[1::2]


def stationary(points: int = 2000) -> list[Real]:
    """Synthetic series without trend, where even a model without skill can estimate its errors."""
    source = np.random.default_rng(0)
    noise = source.normal(size=points)
    swinging = np.zeros(points)
    for at in range(1, points):
        swinging[at] = 0.9 * swinging[at - 1] + noise[at]
    return [
        Real("autoregression", swinging, 1),
        Real("wave", 5 * np.sin(np.arange(points) / 12) + source.normal(size=points), 75),
        Real("noise", source.normal(size=points), 1),
    ]
