"""Gaps filled in many series in one request (POST /v1/imputation): ``null`` is a gap; points are evenly spaced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tsfm.card import Card
from tsfm.engine import imputation
from tsfm.engine.fields import unknown
from tsfm.engine.gather import Outcome
from tsfm.engine.imputation import MAX_FILLED, MAX_ROWS
from tsfm.engine.schemas import Json
from tsfm.engine.tasks import Fields
from tsfm.engine.v1 import answers, inputs, parameters
from tsfm.engine.v1.inputs import Entry, Refused
from tsfm.engine.work import Many, Part
from tsfm.errors import BadRequest, RequestError
from tsfm.numerics.exact import offset_added
from tsfm.numerics.frequency import Frequency
from tsfm.series import FloatArray, Imputer, Series
from tsfm.settings import Settings

FIELDS = ("inputs", "parameters")
ENTRY_FIELDS = ("item_id", "start", "target")
PARAMETERS = ("freq",)
FLAGS: Json = {"type": "array", "items": {"enum": [0, 1]}}
MASK: Json = {"anyOf": [FLAGS, {"type": "array", "items": FLAGS}]}


@dataclass(frozen=True)
class ManyImputations:
    """A request that is known to be answerable, except for its refused entries."""

    entries: Sequence[Entry | Refused]
    freq: Frequency | None
    warnings: tuple[str, ...] = ()


def read(fields: Fields, limits: Settings) -> ManyImputations:
    """Check the fields of a request; a bad series is kept as ``Refused``.

    Raises:
        BadRequest, TooLarge: what holds for all series is wrong.
    """
    options = parameters.of(fields)
    freq = parameters.frequency(options.get("freq"))
    entries, warnings = inputs.read(fields, _bounded(limits), None, ENTRY_FIELDS)
    unknown_options = [f"parameters.{warning}" for warning in unknown(options, PARAMETERS)]
    warnings = (*unknown(fields, FIELDS), *unknown_options, *warnings, *answers.unused_times(entries, freq))
    return ManyImputations([_checked(entry) for entry in entries], freq, warnings)


def work(request: ManyImputations, model: Imputer, family: str) -> Many:
    """What the loaded model has to compute: an item for each variate of each series."""
    points = sum(2 * row.size for entry in request.entries if isinstance(entry, Entry) for row in entry.targets)
    return Many(_items(request.entries, model, family), inputs.count(request.entries), points)


def _items(entries: Sequence[Entry | Refused], model: Imputer, family: str) -> Iterator[Part]:
    for entry in entries:
        if isinstance(entry, Refused):
            yield entry.error
        else:
            yield from (_item(row, model, family) for row in entry.targets)


def finish(request: ManyImputations, outcomes: Sequence[Outcome]) -> Fields:
    """The fields of the answer: a filled series, or a sentence, in the order of the request."""
    filled = [
        answers.refused(entry, error) if error else _filled(entry, request.freq, outputs)
        for entry, error, outputs in answers.by_entry(request.entries, outcomes)
    ]
    return {"predictions": filled} | answers.how(request.entries, filled, outcomes) | answers.warned(request.warnings)


def schema(card: Card, limits: Settings) -> tuple[Json, Json]:
    """JSON schemas of the request and of the answer."""
    request = answers.request_schema(card, _bounded(limits), {"freq": parameters.FREQ}, covariates=False)
    row = answers.ROW | {"description": "observed points as they were sent, and the model's values in the gaps"}
    mask = MASK | {"description": "1 where the value was filled"}
    return request, answers.answer_schema({"target": row, "mask": mask})


def example(points: int, limits: Settings) -> Fields:
    """A valid request of so many points, or of as many as the limits allow; one point is missing before the last."""
    fields = answers.example(min(points, MAX_ROWS), limits)
    for entry in fields["inputs"]:  # type: ignore[attr-defined]
        entry["target"][-2] = None
    return fields | {"parameters": {"freq": "h"}}


def _bounded(limits: Settings) -> Settings:
    """The settings, with what the task itself allows."""
    return Settings(**vars(limits) | {"max_rows": min(limits.max_rows, MAX_ROWS)})


def _checked(entry: Entry | Refused) -> Entry | Refused:
    if isinstance(entry, Entry):
        gaps = max(int(np.isnan(row).sum()) for row in entry.targets)
        if gaps > MAX_FILLED:
            error = BadRequest(f"target: expected at most {MAX_FILLED} points to fill, got {gaps}")
            return Refused(entry.item_id, error)
    return entry


def _item(row: FloatArray, model: Imputer, family: str) -> Part:
    try:
        return imputation.item(Series(row), model, family, "target")
    except RequestError as error:
        return error


def _filled(entry: Entry, freq: Frequency | None, outputs: Sequence[FloatArray]) -> Fields:
    fields = answers.head(entry)
    if entry.start and freq:
        try:
            times = freq.times(entry.start, 0, len(entry.targets[0]))
        except ValueError as error:
            return answers.refused(entry, BadRequest(f"start: {error}, got later ones"))
        fields |= {"start": times[0], "timestamps": times}
    gaps = [np.isnan(row) for row in entry.targets]
    rows = [
        offset_added(np.where(gap, filled, row), origin)
        for gap, filled, row, origin in zip(gaps, outputs, entry.targets, entry.origins, strict=True)
    ]
    masks = [gap.astype(np.uint8) for gap in gaps]
    return fields | ({"target": rows[0], "mask": masks[0]} if entry.flat else {"target": rows, "mask": masks})
