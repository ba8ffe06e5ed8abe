"""What can be asked of a model: one kind for each task."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from tsfm.engine import threads as cpu_threads
from tsfm.engine.work import Ask
from tsfm.errors import ModelFailed
from tsfm.numerics import scaling
from tsfm.series import Family, FloatArray, Forecast, Imputer, Model, Series

log = logging.getLogger(__name__)
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
        answers = self.family.forecast(batch, self.horizon, self.levels)
        for answer in answers:
            _check_shape(answer.median, self.horizon)
            _check_shape(answer.quantiles, len(self.levels), self.horizon)
        return answers


@dataclass(frozen=True)
class ImputationAsk:
    """Gaps to be filled: all such requests may share batches."""

    imputer: Imputer

    def run(self, batch: Sequence[Series]) -> Sequence[FloatArray]:
        filled = self.imputer.impute(batch)
        for series, values in zip(batch, filled, strict=True):
            _check_shape(values, len(series))
        return filled


@dataclass(frozen=True)
class Trial:
    """Asks the model for the same several times, and answers how many threads one series is done soonest with.

    That is all of them or one: in a small model the threads of a product wait for one another longer than it takes.
    The first answer is looked at: a model that gives no numbers for an ordinary series will give none for any other.
    """

    ask: Ask
    threads: int

    def run(self, batch: Sequence[Series]) -> list[int]:
        first_s = self._seconds(batch, self.threads, look=True)
        if first_s > WORTH_TRYING_S or self.threads == 1:
            return [self.threads]
        turns = [(self._seconds(batch, self.threads), self._seconds(batch, 1)) for _ in range(TRIES)]
        many, one = (min(seconds) for seconds in zip(*turns, strict=True))
        chosen = 1 if one < many else self.threads
        took = f"{many * 1000:.1f} ms with all, {one * 1000:.1f} ms with one"
        log.info("a series that is alone runs on %d of %d threads: %s", chosen, self.threads, took)
        return [chosen]

    def _seconds(self, batch: Sequence[Series], threads: int, look: bool = False) -> float:
        cpu_threads.use(threads)
        began = time.perf_counter()
        answers = self.ask.run(batch)
        seconds = time.perf_counter() - began
        if look:
            _check_numbers(answers)
        return seconds


def example(task: str, model: Model) -> tuple[Series, Ask]:
    """A request of the usual length, for a model that has answered nothing yet."""
    wave = np.sin(np.arange(EXAMPLE_POINTS, dtype=np.float64) / 4)
    if task == "imputation":
        wave[20:30] = np.nan
        return scaling.standardise(Series(wave), False)[0], ImputationAsk(cast(Imputer, model))
    family = cast(Family, model)
    fit = scaling.fitted(Series(wave), family, EXAMPLE_HORIZON)
    return scaling.standardise(fit.series, False)[0], ForecastAsk(family, EXAMPLE_HORIZON, (0.1, 0.9))


def _check_shape(values: FloatArray, *shape: int) -> None:
    if np.shape(values) != shape:
        raise ModelFailed(f"the model gave an answer of shape {np.shape(values)} where {shape} was asked for")


def _check_numbers(answers: Sequence[object]) -> None:
    for answer in answers:
        parts = (answer.median, answer.quantiles) if isinstance(answer, Forecast) else (answer,)
        if not all(np.isfinite(part).all() for part in parts if isinstance(part, np.ndarray)):
            raise ModelFailed("the model's answer holds values that are not numbers")
