"""The task "imputation": from the fields of a request to a series with gaps, and from the filled series to the answer.

The request's timestamps and ``freq`` define a regular grid from the first timestamp to the last. A grid point without
a row, or whose row has no value, is a gap to fill (tdgpt-contract: Imputation). Sizes are checked before arrays of
that size are allocated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tsfm.card import Card
from tsfm.engine.fields import check_context, check_most, exact, unknown
from tsfm.engine.grid import (
    DEFAULT_FREQ,
    DEFAULT_PRECISION,
    PRECISIONS_NS,
    UNITS_NS,
    indices_of,
    precision_of,
    shown_freq,
    step_of,
    times_of,
)
from tsfm.engine.schemas import FLOATS, NUMBERS, TIME, WARNINGS, Json, rows, structure, wave
from tsfm.engine.work import Known, WorkItem, check_shape
from tsfm.errors import BadRequest, TooLarge
from tsfm.numerics import scaling
from tsfm.numerics.exact import json_number, offset_added, rounded
from tsfm.series import FloatArray, Imputer, Series
from tsfm.settings import Settings

MAX_ROWS = 8192
MAX_FILLED = 2048
FIELDS = ("input", "ts", "precision", "freq")


@dataclass(frozen=True)
class ImputationRequest:
    """A regular grid with gaps, known to be answerable.

    Attributes:
        times: shape (n,), evenly spaced, in the request's precision.
        target: shape (n,), float64; NaN in the gaps, of which there may be none.
        origin: the whole number that was subtracted from every point of ``target``, see ``tsfm.numerics.exact``.
        given: the n values as received, None in the gaps, where float64 would round some of them; else None.
        warnings: sentences about ignored fields.
    """

    times: NDArray[np.int64]
    target: FloatArray
    origin: int = 0
    given: list[Any] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def series(self) -> Series:
        return Series(self.target)


@dataclass(frozen=True)
class ImputationCall:
    """A call of the model: all series with gaps may share a batch."""

    imputer: Imputer

    def run(self, batch: Sequence[Series]) -> Sequence[FloatArray]:
        filled = self.imputer.impute(batch)
        for series, values in zip(batch, filled, strict=True):
            check_shape(values, len(series))
        return filled


def read(fields: dict[str, object], limits: Settings) -> ImputationRequest:
    """Check the fields of an imputation request and place its rows on their grid.

    Raises:
        BadRequest, TooLarge: one sentence that names the field, what was expected and what came.
    """
    values = fields.get("input")
    check_most("input", values, min(limits.max_rows, MAX_ROWS))
    target, origin = exact("input", values)
    _check_rows(len(target), limits)
    times = times_of(fields.get("ts"), len(target))
    precision = precision_of(fields.get("precision"))
    freq = fields.get("freq")
    step = step_of(freq, precision)
    observed = int(np.count_nonzero(~np.isnan(target)))
    if not observed:
        raise BadRequest(f"input: expected at least one number, got {len(target)} missing values")
    points = (times[-1] - times[0]) // step + 1
    if points - observed > MAX_FILLED:
        raise BadRequest(_too_many(points, observed, times, precision, freq))
    indices = indices_of(times, step, precision)
    full = np.full(points, np.nan)
    full[indices] = target
    return ImputationRequest(
        # Python's integers: the step times a place may need more than 64 bits.
        np.array([times[0] + step * index for index in range(points)], np.int64),
        full,
        origin,
        _as_received(cast(list[Any], values), indices, points),
        unknown(fields, FIELDS),
    )


def work(request: ImputationRequest, model: Imputer, family: str) -> WorkItem | Known:
    """What the loaded model has to compute.

    Raises:
        BadRequest: too few points are observed.
    """
    return item(request.series, model, family, "input")


def item(series: Series, model: Imputer, family: str, field: str) -> WorkItem | Known:
    """What the loaded model has to compute for one series; a constant series is filled without it.

    Args:
        field: what the request calls the series.

    Raises:
        BadRequest: too few points are observed.
    """
    check_context(series, model.max_context, model.min_context, family, field)
    unit, scale = scaling.standardise(series, False)
    if not scale.spread:
        return Known(np.full(len(series), scale.centre))
    return WorkItem(unit, ImputationCall(model), lambda filled: scaling.completed(filled, scale))


def finish(request: ImputationRequest, filled: FloatArray) -> dict[str, object]:
    """The fields of the answer: observed points exactly as received, and the model's values in the gaps.

    Args:
        filled: shape (n,), finite.
    """
    gaps = np.isnan(request.target)
    values = offset_added(np.where(gaps, np.asarray(filled, np.float64), request.target), request.origin)
    if request.given is not None:
        values = [value if gap else observed for value, gap, observed in zip(values, gaps, request.given, strict=True)]
    fields = {"status": "success", "ts": request.times, "target": values, "mask": gaps.astype(np.uint8)}
    return fields | ({"warnings": list(request.warnings)} if request.warnings else {})


def schema(card: Card, limits: Settings) -> tuple[Json, Json]:
    """JSON schemas of the request and of the answer."""
    most = min(limits.max_rows, MAX_ROWS)
    steps = f"^(?!0+[A-Za-z])[0-9]{{0,18}}({'|'.join(UNITS_NS)})$"
    times = rows({"type": "array", "items": TIME, "uniqueItems": True}, limits.min_rows, most)
    request = structure(
        {
            "input": rows(NUMBERS, limits.min_rows, most) | {"description": "null for a missing value"},
            "ts": times | {"description": "one for each point of input, oldest first, on a grid of freq"},
        },
        {
            "precision": {"enum": [*PRECISIONS_NS, None], "default": DEFAULT_PRECISION, "description": "of ts"},
            "freq": {
                "type": ["string", "null"],
                "pattern": steps,
                "default": DEFAULT_FREQ,
                "description": f"the grid's step; at most {MAX_FILLED} points may be missing on it",
            },
        },
    )
    mask: Json = {"type": "array", "items": {"enum": [0, 1]}}
    success: Json = {"status": {"const": "success"}, "ts": {"type": "array", "items": TIME}}
    return request, structure(success | {"target": FLOATS, "mask": mask}, WARNINGS)


def example(points: int, limits: Settings) -> dict[str, object]:
    """A valid request of so many points, or of as many as the limits allow; one row is missing before the last."""
    values = wave(min(points, limits.max_rows, MAX_ROWS))
    minutes = [*range(len(values) - 1), len(values)]
    return {"input": values, "ts": [60 * minute for minute in minutes], "precision": "s", "freq": "1m"}


def _check_rows(rows: int, limits: Settings) -> None:
    most = min(limits.max_rows, MAX_ROWS)
    if rows > most:
        raise TooLarge(f"input: expected at most {most} points, got {rows}")
    if rows < limits.min_rows:
        raise BadRequest(f"input: expected at least {limits.min_rows} points, got {rows}")


def _as_received(values: list[Any], indices: list[int], points: int) -> list[Any] | None:
    """The values on the grid, where a float64 would round some of them; else None."""
    if not rounded(values):
        return None
    given: list[Any] = [None] * points
    for index, value in zip(indices, values, strict=True):
        given[index] = json_number(value)
    return given


def _too_many(points: int, observed: int, times: list[int], precision: str, freq: object) -> str:
    closest = min(here - before for before, here in pairwise(times))
    return (
        f"freq: expected at most {MAX_FILLED} points to fill, got {shown_freq(freq)}, which makes a grid of "
        f"{points} points of which {points - observed} are missing; "
        f"the closest timestamps are {closest}{precision} apart"
    )
