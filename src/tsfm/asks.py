"""What can be asked of a model: one kind for each task."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from tsfm import cpus, scaling
from tsfm.jobs import Ask
from tsfm.series import Family, FloatArray, Forecast, Imputer, Model, Series

EXAMPLE_POINTS, EXAMPLE_HORIZON = 512, 10
# A model whose first forward takes longer gains by every CPU: it is not tried with one, and its start is not held up.
WORTH_TRYING_S = 0.05
TRIES = 3


@dataclass(frozen=True)
class ForecastAsk:
    """A forecast with these parameters; requests that agree in them share batches."""

    family: Family
    horizon: int
    levels: tuple[float, ...]

    def run(self, batch: Sequence[Series]) -> Sequence[Forecast]:
        return self.family.forecast(batch, self.horizon, self.levels)


@dataclass(frozen=True)
class ImputationAsk:
    """Gaps to be filled: all such requests may share batches."""

    imputer: Imputer

    def run(self, batch: Sequence[Series]) -> Sequence[FloatArray]:
        return self.imputer.impute(batch)


@dataclass(frozen=True)
class Trial:
    """Asks the model for the same several times, and answers how many threads one series is done soonest with.

    That is all of them or one: in a small model the threads of a product wait for one another longer than it takes.
    """

    ask: Ask
    threads: int

    def run(self, batch: Sequence[Series]) -> list[int]:
        if self._seconds(batch, self.threads) > WORTH_TRYING_S or self.threads == 1:
            return [self.threads]
        turns = [(self._seconds(batch, self.threads), self._seconds(batch, 1)) for _ in range(TRIES)]
        many, one = (min(seconds) for seconds in zip(*turns, strict=True))
        return [1 if one < many else self.threads]

    def _seconds(self, batch: Sequence[Series], threads: int) -> float:
        cpus.use(threads)
        began = time.perf_counter()
        self.ask.run(batch)
        return time.perf_counter() - began


def example(task: str, model: Model) -> tuple[Series, Ask]:
    """A request of the usual length, for a model that has answered nothing yet."""
    wave = np.sin(np.arange(min(EXAMPLE_POINTS, model.max_context), dtype=np.float64) / 4)
    if task == "imputation":
        wave[20:30] = np.nan
        ask: Ask = ImputationAsk(cast(Imputer, model))
    else:
        ask = ForecastAsk(cast(Family, model), EXAMPLE_HORIZON, (0.1, 0.9))
    return scaling.standardise(Series(wave), False, model.max_context)[0], ask
