"""Inputs and outputs of the model families, and the interfaces of models: plain arrays, no HTTP, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
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
        future_covariates: shape (f, n + horizon); known for the context and the horizon.
        filled: shape (n,), True where the value in ``target`` is interpolated and not observed; None: nowhere.
        season: points of a season, as the request gives them or its frequency does; None: unknown.
    """

    target: FloatArray
    past_covariates: FloatArray = field(default_factory=no_covariates)
    future_covariates: FloatArray = field(default_factory=no_covariates)
    filled: NDArray[np.bool_] | None = None
    season: float | None = None

    def __len__(self) -> int:
        return len(self.target)

    @property
    def schema(self) -> tuple[int, int]:
        """Number of past and of future covariates. All series of a batch have the same schema."""
        return len(self.past_covariates), len(self.future_covariates)

    @property
    def points(self) -> int:
        """Number of context points in all rows together: target and covariates."""
        return len(self) * (1 + sum(self.schema))

    @property
    def described(self) -> str:
        """Its size in words."""
        return f"one series of {len(self)} points and {sum(self.schema)} covariates"

    @cached_property
    def observed(self) -> NDArray[np.bool_]:
        """Shape (n,): where the target has a value."""
        return ~np.isnan(self.target)

    @cached_property
    def whole(self) -> bool:
        """Every point of the target is observed."""
        return bool(self.observed.all())

    def newest(self, points: int) -> Series:
        """The same series with at most ``points`` points of context, the newest ones."""
        return self.between(max(0, len(self) - points), len(self))

    def between(self, start: int, stop: int) -> Series:
        """The points from ``start`` up to ``stop``; future covariates keep their end."""
        if (start, stop) == (0, len(self)):
            return self
        filled = None if self.filled is None else self.filled[start:stop]
        past, future = self.past_covariates[:, start:stop], self.future_covariates[:, start:]
        return Series(self.target[start:stop], past, future, filled, self.season)

    def observed_span(self) -> tuple[int, int]:
        """Start and stop of the observed points of the target; both are ``len(self)`` if no point is observed."""
        if self.whole:
            return 0, len(self)
        observed = np.flatnonzero(self.observed)
        return (int(observed[0]), int(observed[-1]) + 1) if observed.size else (len(self), len(self))


@dataclass(frozen=True)
class Group:
    """Series that are forecast together: the forecast of each looks at all of them.

    Attributes:
        members: at least one. The variates of one target have one length, and the first of them holds the covariates
            of all; where a regression will use the covariates, each holds them.
    """

    members: tuple[Series, ...]

    def __len__(self) -> int:
        """Points of all rows at the length of the longest: what the group adds to a batch."""
        return max(map(len, self.members)) * self.rows

    @property
    def rows(self) -> int:
        """Number of rows: targets and covariates."""
        return sum(1 + sum(member.schema) for member in self.members)

    @property
    def schema(self) -> tuple[tuple[int, int], ...]:
        """The schema of each member. All groups of a batch have the same schema."""
        return tuple(member.schema for member in self.members)

    @property
    def points(self) -> int:
        """Number of context points, as ``len``."""
        return len(self)

    @property
    def described(self) -> str:
        """Its size in words."""
        longest, covariates = max(map(len, self.members)), self.rows - len(self.members)
        return f"{len(self.members)} series together, of up to {longest} points and {covariates} covariates,"

    def newest(self, points: int) -> Group:
        """The same group with at most ``points`` points of context in each member."""
        return Group(tuple(member.newest(points) for member in self.members))


@dataclass(frozen=True)
class Forecast:
    """A forecast, in the unit of the input series.

    Attributes:
        median: shape (horizon,).
        quantiles: shape (len(levels), horizon), one row for each requested level.
    """

    median: FloatArray
    quantiles: FloatArray

    def last(self, horizon: int) -> Forecast:
        """The last ``horizon`` steps only."""
        return Forecast(self.median[-horizon:], self.quantiles[:, -horizon:])

    def shifted(self, by: FloatArray) -> Forecast:
        """With ``by`` added to each row, shape (horizon,); sums that would overflow become the largest number."""
        rows = np.vstack((self.median, self.quantiles)).astype(np.float64)
        with np.errstate(over="ignore"):
            rows = np.nan_to_num(rows + by)
        return Forecast(rows[0], rows[1:])


@dataclass(frozen=True)
class Capabilities:
    """What a loaded checkpoint supports. Requests for anything else are rejected with a message at the HTTP layer."""

    past_covariates: bool = False
    future_covariates: bool = False
    multivariate: bool = False  # forecasts several variates together: ``JointFamily``
    cross_learning: bool = False  # forecasts series of any lengths together
    imputation: bool = False
    native_quantiles: bool = False  # intervals come from the model's own quantile head, not from residuals
    missing_values: bool = False  # accepts NaN in the target; for other models, gaps are interpolated
    covariate_gaps: bool = False  # uses a mask of missing covariate points; for other models, they are filled


@dataclass(frozen=True)
class Runtime:
    """Device, number format and threads of a model.

    Attributes:
        device: torch's name, "cpu", "cuda" or "cuda:1".
        dtype: "auto" (the faster one of the next two on this CPU), "float32", "bfloat16", or "int8" for families whose
            card has it.
        threads: CPU threads for the model's arithmetic, at least 1.
    """

    device: str = "cpu"
    dtype: str = "auto"
    threads: int = 1


class Model(Protocol):
    """One loaded model. Several threads call it at once, so it keeps no state between calls.

    Targets are centred and scaled to unit spread (``numerics.scaling``), in float32, never constant, and not longer
    than the model's context. They begin with an observed point. For families without ``missing_values`` they also
    end with an observed point and contain no NaN: inner gaps are interpolated, a gap at the end is part of the horizon.
    """

    max_context: int  # maximum number of context points
    min_context: int  # minimum number of observed points; a request with fewer is rejected at the HTTP layer
    batch_points: int  # largest batch that still gains speed: longest context times number of series
    capabilities: Capabilities
    path: str  # arithmetic in use, shown in /v1/models: "float32", "bfloat16 with AVX512-BF16", ...


class Family(Model, Protocol):
    """A model whose task is "forecast": it takes arrays and returns quantiles."""

    min_room: int  # minimum context beside horizon and covariates; less is rejected at the HTTP layer

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        """Maximum number of context points for this horizon and schema; older points are cut before the call.

        A result below ``min_room``, or below 0, means that the horizon or the number of covariates is too large. Each
        further variate of a ``JointFamily`` takes as much room as a future covariate.
        """
        ...

    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        """Forecast each series ``horizon`` steps ahead, at each quantile level in (0, 1)."""
        ...


class JointFamily(Family, Protocol):
    """A family with the capability ``multivariate``; it has ``missing_values`` as well.

    Members of a group that are constant are zero throughout. A member may begin with gaps.
    """

    def forecast_joint(self, batch: Sequence[Group], horizon: int, levels: Sequence[float]) -> list[list[Forecast]]:
        """For each group the forecasts of its members, in their order."""
        ...


class Imputer(Model, Protocol):
    """A model whose task is "imputation". Its targets are never cut."""

    def impute(self, batch: Sequence[Series]) -> list[FloatArray]:
        """For each series the filled target, shape (n,), with the model's values where the target is NaN."""
        ...
