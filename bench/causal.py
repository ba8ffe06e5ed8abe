"""Simple point forecasts of known quality, with conformal intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bench import real

SEASON = 12
MEMORY = 0.9

# Takes a history and a horizon; returns past origins, shape (m,), and the forecasts from them, shape (m, horizon).
Past = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def repeated(history: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Persistence: the last value, which is the best forecast of a random walk."""
    return np.arange(len(history)), np.repeat(history[:, None], horizon, axis=1)


def decayed(history: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """The best forecast of an autoregression around 0 with coefficient MEMORY."""
    return np.arange(len(history)), history[:, None] * MEMORY ** np.arange(1, horizon + 1)


def seasonal(history: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Seasonal naive: the value of one season before."""
    origins = np.arange(SEASON - 1, len(history))
    return origins, history[origins[:, None] - SEASON + 1 + np.arange(horizon) % SEASON]


def quantiles(
    past: Past, history: np.ndarray, horizon: int, levels: Sequence[float], filled: np.ndarray | None = None
) -> np.ndarray:
    """Conformal quantiles around the point forecasts of ``past``; shape (levels, horizon)."""
    from tsfm.numerics import conformal

    origins, forecasts = past(history, horizon)
    return conformal.intervals(history, origins, forecasts, forecasts[-1], levels, filled)


class Persistence:
    """``repeated`` as a family."""

    max_context = real.CONTEXT
    min_context = min_room = 1

    def __init__(self) -> None:
        from tsfm.series import Capabilities

        self.capabilities = Capabilities()

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        return self.max_context

    def forecast(self, batch: Sequence[object], horizon: int, levels: Sequence[float]) -> list[object]:
        from tsfm.series import Forecast

        answers = []
        for series in batch:
            history = np.asarray(series.target, np.float64)
            rows = quantiles(repeated, history, horizon, levels, series.filled)
            answers.append(Forecast(np.full(horizon, history[-1]), rows))
        return answers
