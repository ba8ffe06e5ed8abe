"""Runs one engine of a family as a service of its own: its answers for all series, its speed and its memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from tsfm.card import Card
from tsfm.cli import instances, many, prediction, started
from tsfm.cli.prediction import Failure
from tsfm.errors import TsfmError
from tsfm.settings import Settings

if TYPE_CHECKING:  # pandas is in the command line's environment, not in the system's
    from tsfm.cli.source.series import Series

TIMED = 5  # requests of one series whose median is told
HIDDEN, EVERY = 8, 80  # points of each hidden run, and from the start of one to the next
Parts = dict[str, list[float]]
"""An answer for one series by the names of its parts: median and quantiles, or the filled points."""


@dataclass(frozen=True)
class Measured:
    """What one engine answers and takes.

    Attributes:
        facts: its entry in /v1/models.
        answers: for each series, or why there is none; ``again``: for the same request a second time.
        one_ms: median of requests with one series.
        all_s: one pass over all series.
        peak_mib: most memory that was resident; None: this host does not show it.
    """

    facts: dict[str, object]
    answers: list[Parts | Failure]
    again: list[Parts | Failure]
    one_ms: float
    all_s: float
    peak_mib: int | None


@dataclass(frozen=True)
class Question:
    """What is asked of both engines: the path, the parameters, and how an entry of the answer is read."""

    path: str
    parameters: Mapping[str, object]
    read: Callable[[Series, Mapping[str, object]], Parts]


def measure(
    card: Card, settings: Settings, engine: str, dtype: str, sent: Sequence[Series], question: Question
) -> Measured:
    """Start the engine, ask it for all series twice and for the first one some times, and stop it.

    Raises:
        TsfmError: it does not become ready, or no series has an answer.
    """
    with started.own(card, settings, "--engine", engine, "--dtype", dtype) as (service, facts):
        operation = many.Operation(
            service, question.path, question.parameters, many.Limits.of(facts), settings.deadline_s
        )
        answers, _ = _timed(operation, sent, question)
        again, all_s = _timed(operation, sent, question)
        first = next(one for one, answer in zip(sent, answers, strict=True) if not isinstance(answer, Failure))
        seconds = [_timed(operation, [first], question)[1] for _ in range(TIMED)]
        return Measured(facts, answers, again, median(seconds) * 1000, all_s, instances.peak_mib(service))


def forecast(horizon: int, interval: float) -> Question:
    """The median and the bounds of an interval."""
    levels = prediction.quantile_levels(interval)

    def read(one: Series, entry: Mapping[str, object]) -> Parts:
        found = prediction.read(one, entry, horizon, levels)
        return {"median": found.median, "quantiles": [*found.lower, *found.upper]}

    return Question("/v1/forecast", {"prediction_length": horizon, "quantile_levels": levels}, read)


def imputation() -> Question:
    """The values at the points that ``hide`` has hidden, and at those that were missing before."""

    def read(one: Series, entry: Mapping[str, object]) -> Parts:
        values = entry.get("target")
        if not isinstance(values, list) or len(values) != len(one.column.values):
            raise TsfmError("expected as many numbers as points in the service's answer, got something else")
        return {"filled": [float(new) for new, old in zip(values, one.column.values, strict=True) if old is None]}

    return Question("/v1/imputation", {}, read)


def hide(series: Series) -> Series:
    """The series with short runs of its points missing."""
    values = [None if at % EVERY >= EVERY - HIDDEN else value for at, value in enumerate(series.column.values)]
    return replace(series, column=replace(series.column, values=values))


def _timed(
    operation: many.Operation, sent: Sequence[Series], question: Question
) -> tuple[list[Parts | Failure], float]:
    began = time.monotonic()
    return many.send(operation, sent, question.read), time.monotonic() - began
