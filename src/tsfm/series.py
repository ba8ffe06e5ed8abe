"""What goes into a model family and what comes out: plain arrays, no HTTP, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32 | np.float64]


def no_covariates() -> FloatArray:
    """An empty stack of covariates, shape (0, 0)."""
    return np.empty((0, 0))


@dataclass(frozen=True)
class Series:
    """One series to forecast or to impute, oldest point first, evenly spaced.

    Attributes:
        target: shape (n,); NaN marks a gap.
        past_covariates: shape (p, n); known for the context only.
        future_covariates: shape (f, n + horizon); known for context and horizon.
        filled: shape (n,), True where ``target`` holds an interpolated value and no observed one; None: nowhere.
    """

    target: FloatArray
    past_covariates: FloatArray = field(default_factory=no_covariates)
    future_covariates: FloatArray = field(default_factory=no_covariates)
    filled: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.target)

    @property
    def schema(self) -> tuple[int, int]:
        """Numbers of past and future covariates: only series of one schema share a batch."""
        return len(self.past_covariates), len(self.future_covariates)

    @property
    def points(self) -> int:
        """Points of the context in all its rows: target and covariates."""
        return len(self) * (1 + sum(self.schema))

    def newest(self, points: int) -> Series:
        """The same series with at most ``points`` points of context, the newest ones."""
        return self.between(max(0, len(self) - points), len(self))

    def between(self, start: int, stop: int) -> Series:
        """The points from ``start`` up to ``stop``; known future values go on as far as they did."""
        if (start, stop) == (0, len(self)):
            return self
        filled = None if self.filled is None else self.filled[start:stop]
        past, future = self.past_covariates[:, start:stop], self.future_covariates[:, start:]
        return Series(self.target[start:stop], past, future, filled)

    def observed_span(self) -> tuple[int, int]:
        """Where the observed points of the target begin and stop: both at its end where there is none."""
        observed = np.flatnonzero(~np.isnan(self.target))
        return (int(observed[0]), int(observed[-1]) + 1) if observed.size else (len(self), len(self))


@dataclass(frozen=True)
class Forecast:
    """An answer in the unit of the series that was given.

    Attributes:
        median: shape (horizon,).
        quantiles: shape (len(levels), horizon), one row for each asked level.
    """

    median: FloatArray
    quantiles: FloatArray

    def last(self, horizon: int) -> Forecast:
        """Only the farthest ``horizon`` steps."""
        return Forecast(self.median[-horizon:], self.quantiles[:, -horizon:])


@dataclass(frozen=True)
class Capabilities:
    """What a loaded checkpoint can do; what it cannot is refused in words at the edge."""

    past_covariates: bool = False
    future_covariates: bool = False
    multivariate: bool = False
    imputation: bool = False
    native_quantiles: bool = False  # intervals from the model's own head, not from residuals
    missing_values: bool = False  # takes NaN in the target itself; for the others gaps are filled by interpolation
    covariate_gaps: bool = False  # is told which points of a covariate are missing; for the others they are filled


@dataclass(frozen=True)
class Runtime:
    """How a model is to run.

    Attributes:
        device: torch's name, "cpu", "cuda" or "cuda:1".
        dtype: "auto" (the fastest this CPU has whose drift is measured), "float32" or "bfloat16".
        threads: CPU threads for the model's arithmetic, at least 1.
    """

    device: str = "cpu"
    dtype: str = "auto"
    threads: int = 1


class Model(Protocol):
    """One loaded model; called from several threads at once, so it keeps nothing from call to call.

    Targets arrive centred and scaled to unit spread (``numerics.scaling``), in float32, never constant, and no longer
    than the model can look at. They begin with an observed point. For families without ``missing_values`` they also
    end with one and hold no NaN: inner gaps are interpolated, a gap at the end is a part of the horizon.
    """

    max_context: int  # most points looked at
    min_context: int  # observed points needed; fewer are refused at the edge
    batch_points: int  # largest worthwhile batch: longest context times number of series
    capabilities: Capabilities
    path: str  # which arithmetic runs, for /v1/models: "float32", "bfloat16 with AVX512-BF16", ...


class Family(Model, Protocol):
    """A model whose task is "forecast": arrays in, quantiles out."""

    min_room: int  # points of context that must fit beside horizon and covariates; fewer are refused at the edge

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        """Points looked at when that much is asked; older ones are cut off before the call.

        Less than ``min_room``, or below 0: so many steps, or so many past and future covariates, are too much.
        """
        ...

    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        """Forecast each series ``horizon`` steps ahead, at each quantile level in (0, 1)."""
        ...


class Imputer(Model, Protocol):
    """A model whose task is "imputation"; its targets are never cut."""

    def impute(self, batch: Sequence[Series]) -> list[FloatArray]:
        """For each series a full one, shape (n,): the model's values where the target is NaN."""
        ...
