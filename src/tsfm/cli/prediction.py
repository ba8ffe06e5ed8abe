"""What the service forecasts for one series, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tsfm.errors import TsfmError

if TYPE_CHECKING:  # pandas is in the command line's environment, not in the system's
    from tsfm.cli.source.series import Series


@dataclass(frozen=True)
class Failure:
    """A series without a result, and the reason."""

    item_id: str
    reason: str


@dataclass(frozen=True)
class Prediction:
    """The forecast of one series.

    Attributes:
        mean: one number for each step.
        quantiles: by level in rising order, each as long as ``mean``.
    """

    series: Series
    mean: list[float]
    quantiles: dict[float, list[float]]

    @property
    def median(self) -> list[float]:
        return self.quantiles[0.5]

    @property
    def lower(self) -> list[float]:
        return self.quantiles[min(self.quantiles)]

    @property
    def upper(self) -> list[float]:
        return self.quantiles[max(self.quantiles)]

    @property
    def steps(self) -> list[str]:
        """The times of the steps, or their numbers from 1."""
        return self.series.ahead or [str(step) for step in range(1, len(self.mean) + 1)]


def quantile_levels(interval: float) -> list[float]:
    """The quantiles of an interval with the probability ``interval``, and the median."""
    tail = round((1 - interval) / 2, 12)
    return sorted({tail, 0.5, round(1 - tail, 12)})


def read(series: Series, entry: Mapping[str, object], horizon: int, levels: Sequence[float]) -> Prediction:
    """The forecast in one entry of the answer.

    Raises:
        TsfmError: it is none.
    """
    by_level = {_level(key): key for key in entry}
    quantiles = {level: _numbers(entry.get(by_level.get(level, "")), str(level), horizon) for level in levels}
    return Prediction(series, _numbers(entry.get("mean"), "mean", horizon), quantiles)


def _level(key: str) -> float:
    try:
        return float(key)
    except ValueError:
        return math.nan


def _numbers(values: object, name: str, horizon: int) -> list[float]:
    if not isinstance(values, list) or len(values) != horizon or not all(map(_is_finite, values)):
        raise TsfmError(f"expected {horizon} numbers as {name} in the service's answer, got something else")
    return [float(value) for value in values]


def _is_finite(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
