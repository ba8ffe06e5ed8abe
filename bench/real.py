"""Real series that statsmodels ships (public domain data), and rolling origins over them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

CONTEXT = 512
MACRO = ("realgdp", "realcons", "realinv", "realgovt", "realdpi", "cpi", "m1", "tbilrate", "unemp", "infl", "realint")


@dataclass(frozen=True)
class Real:
    """One series, its season in points and how far ahead it is forecast."""

    name: str
    values: np.ndarray
    season: int
    horizon: int

    def origins(self, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs of context (at most CONTEXT points) and what came after it."""
        first = min(CONTEXT, len(self.values) // 2)
        for at in np.unique(np.linspace(first, len(self.values) - self.horizon, count).astype(int)):
            yield self.values[max(0, at - CONTEXT) : at], self.values[at : at + self.horizon]


def series() -> list[Real]:
    """Atmosphere, sun, sea, river and economy."""
    from statsmodels.datasets import co2, elnino, macrodata, nile, sunspots

    macro = macrodata.load_pandas().data
    months = elnino.load_pandas().data.drop(columns="YEAR").to_numpy().ravel()
    weeks = co2.load_pandas().data["co2"].resample("W").mean().ffill().to_numpy()
    found = [
        Real("co2", weeks, 52, 24),
        Real("sunspots", sunspots.load_pandas().data["SUNACTIVITY"].to_numpy(), 11, 12),
        Real("elnino", months, 12, 24),
        Real("nile", nile.load_pandas().data["volume"].to_numpy(), 1, 8),
    ]
    return found + [Real(name, macro[name].to_numpy(), 4, 8) for name in MACRO]


def stationary(points: int = 2000) -> list[Real]:
    """Made series without trend, on which even a model without skill can know its error."""
    source = np.random.default_rng(0)
    noise = source.normal(size=points)
    swinging = np.zeros(points)
    for at in range(1, points):
        swinging[at] = 0.9 * swinging[at - 1] + noise[at]
    return [
        Real("autoregression", swinging, 1, 24),
        Real("wave", 5 * np.sin(np.arange(points) / 12) + source.normal(size=points), 75, 24),
        Real("noise", source.normal(size=points), 1, 24),
    ]
