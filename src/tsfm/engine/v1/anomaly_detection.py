"""Points that a model and the series itself make unlikely, in many series (POST /v1/anomaly_detection)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tsfm.card import Card
from tsfm.engine.fields import given, unknown, whole
from tsfm.engine.gather import Outcome
from tsfm.engine.schemas import Json
from tsfm.engine.tasks import Fields
from tsfm.engine.v1 import answers, inputs, parameters
from tsfm.engine.v1.inputs import Entry, Refused
from tsfm.engine.v1.judging import Row
from tsfm.engine.v1.parameters import NARROWEST
from tsfm.engine.work import Many, Part
from tsfm.errors import BadRequest, TooLarge
from tsfm.numerics.anomaly import BLOCK, FIRST, Judged
from tsfm.numerics.exact import offset_added
from tsfm.numerics.frequency import Frequency
from tsfm.series import Family, FloatArray, Imputer
from tsfm.settings import Settings

FIELDS = ("inputs", "parameters")
ENTRY_FIELDS = ("item_id", "start", "target")
PARAMETERS = ("level", "window", "freq")
DEFAULT_LEVEL = 0.99
MOST_FORECASTS = 4000  # of one request; the work of the edge's thread and the memory of what waits are bounded by it


@dataclass(frozen=True)
class Detection:
    """A request that is known to be answerable, except for its refused entries.

    Attributes:
        rows: for each entry its variates; none for a refused one.
        level: of the interval, and above which score a point is an anomaly.
    """

    entries: Sequence[Entry | Refused]
    rows: Sequence[Sequence[Row]]
    level: float
    freq: Frequency | None
    warnings: tuple[str, ...] = ()


def read(fields: Fields, limits: Settings) -> Detection:
    """Check the fields of a request; a bad series is kept as ``Refused``.

    Raises:
        BadRequest, TooLarge: what holds for all series is wrong.
    """
    options = parameters.of(fields)
    freq = parameters.frequency(options.get("freq"))
    level = parameters.level("level", given(options, "level", DEFAULT_LEVEL))
    window = options.get("window")
    newest = None if window is None else whole("window", window, 1, limits.max_rows)
    entries, warnings = inputs.read(fields, limits, None, ENTRY_FIELDS)
    checked = [_checked(entry) for entry in entries]
    rows = [[Row.of(one, newest) for one in entry.targets] if isinstance(entry, Entry) else [] for entry in checked]
    _check_forecasts(sum(len(row.before) + len(row.after) for variates in rows for row in variates))
    unknown_options = [f"parameters.{warning}" for warning in unknown(options, PARAMETERS)]
    warnings = (*unknown(fields, FIELDS), *unknown_options, *warnings, *answers.unused_times(entries, freq))
    return Detection(checked, rows, level, freq, warnings)


def work(request: Detection, model: Family | Imputer, family: str) -> Many:
    """What has to be computed: the parts of each variate of each series."""
    counts, points = _counts(request), sum(len(row.values) for rows in request.rows for row in rows)
    return Many(_parts(request, model, family), sum(counts), 5 * points)


def finish(request: Detection, outcomes: Sequence[Outcome]) -> Fields:
    """The fields of the answer: a list for each field of a point, or a sentence, for each series in order."""
    predictions: list[Fields] = []
    for at, (entry, error, outputs) in enumerate(answers.by_entry(request.entries, outcomes, _counts(request))):
        if error:
            predictions.append(answers.refused(entry, error))
        else:
            predictions.append(_prediction(entry, request, request.rows[at], outputs))
    return (
        {"predictions": predictions}
        | answers.how(request.entries, predictions, outcomes)
        | answers.warned(request.warnings)
    )


def schema(card: Card, limits: Settings) -> tuple[Json, Json]:
    """JSON schemas of the request and of the answer."""
    options: Json = {
        "level": {
            "type": ["number", "null"],
            "minimum": NARROWEST,
            "maximum": 1 - NARROWEST,
            "default": DEFAULT_LEVEL,
            "description": "share of ordinary points that are not flagged, and that lie between lower and upper",
        },
        "window": {
            "type": ["integer", "null"],
            "minimum": 1,
            "maximum": limits.max_rows,
            "description": "how many of the newest points to judge; default: all",
        },
        "freq": parameters.FREQ,
    }
    flags = _row_of({"type": ["boolean", "null"]})
    numbers = _row_of({"type": ["number", "null"]})
    point: Json = {"anomaly": flags | {"description": "null where a point is not judged"}, "score": numbers}
    point |= {name: numbers for name in ("expected", "lower", "upper")}
    return answers.request_schema(card, limits, options, covariates=False), answers.answer_schema(point)


def example(points: int, limits: Settings) -> Fields:
    """A valid request of so many points, or of as many as the limits allow."""
    return answers.example(max(points, 2 * FIRST), limits) | {"parameters": {"level": DEFAULT_LEVEL, "freq": "h"}}


def _counts(request: Detection) -> list[int]:
    """Parts of each entry; a refused one has one."""
    return [sum(row.count for row in rows) or 1 for rows in request.rows]


def _parts(request: Detection, model: Family | Imputer, family: str) -> Iterator[Part]:
    for entry, rows in zip(request.entries, request.rows, strict=True):
        if isinstance(entry, Refused):
            yield entry.error
        for row in rows:
            yield from row.parts(model, family)


def _checked(entry: Entry | Refused) -> Entry | Refused:
    if isinstance(entry, Refused):
        return entry
    observed = min(int(np.count_nonzero(~np.isnan(row))) for row in entry.targets)
    if observed > FIRST:
        return entry
    sentence = f"target: expected more than {FIRST} observed points, the first of which are not judged, got {observed}"
    return Refused(entry.item_id, BadRequest(sentence))


def _check_forecasts(count: int) -> None:
    if count > MOST_FORECASTS:
        raise TooLarge(
            f"inputs: expected points that need at most {MOST_FORECASTS} forecasts, one for {BLOCK} points in either "
            f"direction, got {count}: send fewer series or points, or judge only the newest ones (window)"
        )


def _prediction(entry: Entry, request: Detection, rows: Sequence[Row], outputs: Sequence[Outcome]) -> Fields:
    fields = answers.head(entry)
    if entry.start and request.freq:
        try:
            times = request.freq.times(entry.start, 0, len(entry.targets[0]))
        except ValueError as error:
            return answers.refused(entry, BadRequest(f"start: {error}, got later ones"))
        fields |= {"start": times[0], "timestamps": times}
    points, at = [], 0
    for row, origin in zip(rows, entry.origins, strict=True):
        points.append(_points(row, row.judged(outputs[at : at + row.count], request.level), origin, request.level))
        at += row.count
    return fields | (points[0] if entry.flat else {name: [one[name] for one in points] for name in points[0]})


def _points(row: Row, judged: Judged, origin: int, level: float) -> Fields:
    missing = np.isnan(row.values)
    missing[: row.first_judged] = False
    flags = [
        None if score != score and not gap else bool(score > level)
        for score, gap in zip(judged.score.tolist(), missing.tolist(), strict=True)
    ]
    named = {"expected": judged.expected, "lower": judged.lower, "upper": judged.upper}
    return {"anomaly": flags, "score": judged.score} | {name: _numbers(one, origin) for name, one in named.items()}


def _numbers(values: FloatArray, origin: int) -> object:
    if not origin:
        return values
    known = ~np.isnan(values)
    numbers = iter(offset_added(values[known], origin))
    return [next(numbers) if one else None for one in known]


def _row_of(item: Json) -> Json:
    one: Json = {"type": "array", "items": item}
    return {"type": "array", "anyOf": [one, {"type": "array", "items": one}]}
