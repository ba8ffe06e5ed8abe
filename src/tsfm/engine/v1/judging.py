"""What the judgement of one series takes: forecasts from both sides, a block apart, and comparisons of its stretches.

A model that imputes reconstructs each block from both sides instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np

from tsfm.engine import imputation
from tsfm.engine.forecast import Output, item
from tsfm.engine.gather import Outcome
from tsfm.engine.room import Words
from tsfm.engine.work import Known, Part, WorkItem
from tsfm.errors import BadRequest, RequestError
from tsfm.numerics import anomaly, scaling, shapes
from tsfm.numerics.anomaly import BLOCK, CONTEXT, LEVELS, Judged
from tsfm.numerics.scaling import Scale
from tsfm.numerics.shapes import Lags
from tsfm.series import Family, FloatArray, Imputer, Series

WORDS = Words("target", "steps", "past_covariates", "future_covariates")


@dataclass(frozen=True)
class ShapesCall:
    """A comparison of stretches; it needs no model, but its time, so it waits for its turn like a call of the model."""

    lags: Lags

    def run(self, batch: Sequence[Series]) -> Sequence[FloatArray]:
        return [self.lags.nearest(series.target) for series in batch]


@dataclass(frozen=True)
class Row:
    """One series to judge.

    Attributes:
        values: shape (n,), centred and scaled; NaN is a missing point.
        scale: back to the unit of the request.
        first_judged: the first point that the answer judges.
        cut: the first point that is looked at, to know what is ordinary.
        season: points of its season; 1: none was found.
    """

    values: FloatArray
    scale: Scale
    first_judged: int
    cut: int
    season: int

    @classmethod
    def of(cls, target: FloatArray, window: int | None) -> Row:
        """The series in unit spread.

        Args:
            window: how many of the newest points to judge; None: all.
        """
        _, scale = scaling.standardise(Series(target), False)
        half = (scale.spread or 1.0) / 2
        values = (np.asarray(target, np.float64) / 2 - scale.centre / 2) / half
        first_judged = max(0, len(values) - (window or len(values)))
        cut = max(0, first_judged - anomaly.REFERENCE)
        return cls(values, Scale(scale.centre, 2 * half), first_judged, cut, shapes.found_season(values[cut:]))

    @cached_property
    def before(self) -> list[int]:
        """How many points are before each forecast."""
        return anomaly.origins(self.values, self.cut)

    @cached_property
    def after(self) -> list[int]:
        """How many points are behind each forecast in reversed time."""
        return [at for at in anomaly.origins(self.values[::-1]) if at < len(self.values) - self.cut]

    @cached_property
    def looked_at(self) -> FloatArray:
        """The points from the cut on, gaps interpolated; shape (n - cut,)."""
        return scaling.fill(self.values[self.cut :])

    @cached_property
    def lags(self) -> list[Lags]:
        """What is compared of the series' own shapes."""
        return shapes.parts(len(self.looked_at), self.season)

    @property
    def count(self) -> int:
        """Number of parts."""
        return len(self.before) + len(self.after) + len(self.lags)

    def parts(self, model: Family | Imputer, family: str) -> list[Part]:
        """What has to be computed; the error of the model for each part where it can judge no point."""
        if model.capabilities.imputation:
            forecasts = [self._reconstruction(at, model, family) for at in self.before]  # type: ignore[arg-type]
            forecasts += [Known(None)] * len(self.after)
        else:
            sides = ((self.values, self.before), (self.values[::-1], self.after))
            forecasts = [_forecast(values[:at], model, family) for values, at_all in sides for at in at_all]  # type: ignore[arg-type]
        refused = [part for part in forecasts if isinstance(part, RequestError)]
        if len(refused) == len(forecasts) and refused:
            return [refused[0]] * self.count
        # What the model cannot judge, such as a block behind a gap as long as its context, is not judged.
        parts: list[Part] = [Known(None) if isinstance(part, RequestError) else part for part in forecasts]
        parts += [WorkItem(Series(self.looked_at), ShapesCall(one)) for one in self.lags]
        return parts

    def judged(self, outcomes: Sequence[Outcome], level: float) -> Judged:
        """The judgement from the outcomes of the parts, in the unit of the request."""
        count, made = len(self.values), list(outcomes)
        before = anomaly.in_a_row(count, self.before, made[: len(self.before)])  # type: ignore[arg-type]
        reversed_ = made[len(self.before) : len(self.before) + len(self.after)]
        after = anomaly.in_a_row(count, self.after, reversed_)[:, ::-1]  # type: ignore[arg-type]
        if np.isnan(before[0]).all():
            before = anomaly.around(self.values, before[1])
        found = anomaly.judge(self.values, before, after, self._shapes(made), level)
        for rows in (found.score, found.expected, found.lower, found.upper):
            rows[: self.first_judged] = np.nan
        restore = self.scale.restore
        return Judged(found.score, restore(found.expected), restore(found.lower), restore(found.upper))

    def _shapes(self, made: Sequence[Outcome]) -> list[FloatArray]:
        """The distances of each point that need no model."""
        compared = cast(Sequence[FloatArray], made[len(self.before) + len(self.after) :])
        unknown = np.full(self.cut, np.nan)
        own = self.values[self.cut :]
        found = [shapes.rest(own, self.season), shapes.still(own)]
        found += shapes.distances(self.looked_at, self.season, compared)
        return [np.concatenate((unknown, one)) for one in found]

    def _reconstruction(self, at: int, model: Imputer, family: str) -> Part:
        """One block, as the points on both sides of it let expect it."""
        count, room = len(self.values), min(model.max_context, CONTEXT)
        low = min(max(0, at + BLOCK // 2 - room // 2), max(0, count - room))
        around = self.values[low : low + room].copy()
        block = slice(at - low, min(at - low + BLOCK, len(around)))
        around[block] = np.nan
        try:
            part = imputation.item(Series(around), model, family, "target")
        except BadRequest as error:
            return error
        if isinstance(part, Known):
            return Known(_only_median(part.output[block]))  # type: ignore[index]
        inner = part.restore
        part.restore = lambda filled: _only_median(inner(filled)[block])  # type: ignore[index]
        return part


def _forecast(values: FloatArray, model: Family, family: str) -> Part:
    try:
        part = item(Series(values[-CONTEXT:]), BLOCK, LEVELS, model, family, WORDS)
    except BadRequest as error:
        return error
    if isinstance(part, Known):
        return Known(_quantiles(part.output))
    inner = part.restore
    part.restore = lambda made: _quantiles(inner(made))
    return part


def _quantiles(output: Any) -> FloatArray:
    return cast(Output, output).forecast.quantiles


def _only_median(expected: FloatArray) -> FloatArray:
    unknown = np.full(len(expected), np.nan)
    return np.stack((unknown, expected, unknown))
