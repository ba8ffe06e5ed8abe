"""What can be asked of a model: one kind for each task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from tsfm import scaling
from tsfm.jobs import Ask
from tsfm.series import Family, FloatArray, Forecast, Imputer, Model, Series

EXAMPLE_POINTS, EXAMPLE_HORIZON = 512, 10


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


def example(task: str, model: Model) -> tuple[Series, Ask]:
    """A request of the usual length, for a model that has answered nothing yet."""
    wave = np.sin(np.arange(min(EXAMPLE_POINTS, model.max_context), dtype=np.float64) / 4)
    if task == "imputation":
        wave[20:30] = np.nan
        ask: Ask = ImputationAsk(cast(Imputer, model))
    else:
        ask = ForecastAsk(cast(Family, model), EXAMPLE_HORIZON, (0.1, 0.9))
    return scaling.standardise(Series(wave), False, model.max_context)[0], ask
