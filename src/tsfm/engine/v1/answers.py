"""What the answers of all operations under /v1 have in common, and the schemas of requests and answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tsfm.card import Card
from tsfm.engine import abilities
from tsfm.engine.gather import Outcome
from tsfm.engine.schemas import FLOATS, NUMBERS, TEXT, WARNINGS, Json, structure, wave
from tsfm.engine.tasks import Fields
from tsfm.engine.v1.covariates import LONGEST_NAME
from tsfm.engine.v1.inputs import LARGEST_ID, LONGEST_ID, Entry, Refused
from tsfm.errors import RequestError
from tsfm.numerics.frequency import Frequency
from tsfm.settings import Settings

# Of one series, or of each variate of a 2-D target.
ROW: Json = {"type": "array", "anyOf": [FLOATS, {"type": "array", "items": FLOATS}]}
TIMES: Json = {
    "start": TEXT | {"description": "time of the first step"},
    "timestamps": {"type": "array", "items": TEXT, "description": "only with start and freq"},
}
NUMBER: Json = {"type": ["number", "null"]}
WAYS: Json = {
    "covariates_how": {"enum": ["native", "regression"], "description": "only where a series has covariates"},
    "multivariate_how": {
        "enum": [abilities.JOINT, abilities.EACH],
        "description": "only where a target has several variates",
    },
}
# Where the model forecasts: the median as "mean", and a row for each level under the level's text.
QUANTILES: Json = {"^[0-9]": ROW}


def by_entry(
    entries: Sequence[Entry | Refused], outcomes: Sequence[Outcome], counts: Sequence[int] | None = None
) -> Iterator[tuple[Any, RequestError | None, Sequence[Any]]]:
    """Each entry with its error, if it or a part of it was refused, and its outputs.

    Args:
        counts: outcomes of each entry; None: one for each variate. A refused entry has one.
    """
    at = 0
    for entry, parts in zip(entries, counts or map(_variates, entries), strict=True):
        count = 1 if isinstance(entry, Refused) else parts
        outputs = outcomes[at : at + count]
        at += count
        yield entry, next((output for output in outputs if isinstance(output, RequestError)), None), outputs


def _variates(entry: Entry | Refused) -> int:
    return 1 if isinstance(entry, Refused) else len(entry.targets)


def head(entry: Entry | Refused) -> Fields:
    """The id of a series, if it has one."""
    return {} if entry.item_id is None else {"item_id": entry.item_id}


def refused(entry: Entry | Refused, error: RequestError) -> Fields:
    """What stands in the place of a series that was refused or failed."""
    return head(entry) | {"error": str(error)}


def warned(warnings: Sequence[str]) -> Fields:
    """The field ``warnings``, where there are some."""
    return {"warnings": list(warnings)} if warnings else {}


def how(entries: Sequence[Entry | Refused], predictions: Sequence[Fields], outcomes: Sequence[Outcome]) -> Fields:
    """How variates and covariates were used, where some series that was answered has them."""
    answered = [
        entry
        for entry, prediction in zip(entries, predictions, strict=True)
        if isinstance(entry, Entry) and "error" not in prediction
    ]
    fields: Fields = {}
    if ways := {way for outcome in outcomes if (way := getattr(outcome, "how", None))}:
        fields["covariates_how"] = max(ways)
    if any(not entry.flat for entry in answered):
        joint = any(getattr(outcome, "joint", False) for outcome in outcomes)
        fields["multivariate_how"] = abilities.JOINT if joint else abilities.EACH
    return fields


def unused_times(entries: Sequence[Entry | Refused], freq: Frequency | None) -> tuple[str, ...]:
    """Warnings where a start gives no times, or other times than it seems to."""
    starts = dict.fromkeys(entry.start for entry in entries if isinstance(entry, Entry) and entry.start)
    if not starts:
        return ()
    if freq is None:
        return ("inputs[].start: the answer has no times, since parameters.freq is missing",)
    if any(freq.moved(start) for start in starts):
        return (f"inputs[].start: not a time of freq {freq.text}: times begin at the next one",)
    return ()


def request_schema(card: Card, limits: Settings, parameters: Json, covariates: bool = True) -> Json:
    """The JSON schema of a request."""
    kinds: Json = {"type": ["number", "string", "boolean", "null"]}
    named: Json = {
        "type": ["object", "null"],
        "additionalProperties": {"type": "array", "items": kinds},
        "propertyNames": {"maxLength": LONGEST_NAME},
        "maxProperties": limits.max_covariates,
        "description": "a list for each name: numbers, or text and booleans as categories",
    }
    optional: Json = {
        "item_id": {"type": ["string", "integer", "null"], "maxLength": LONGEST_ID}
        | {"minimum": -LARGEST_ID, "maximum": LARGEST_ID},
        "start": {"type": ["string", "null"], "description": "time of the first point, ISO 8601"},
    }
    if covariates:
        optional["past_covariates"] = named | {"description": f"{named['description']}; as long as target"}
        optional["future_covariates"] = named | {
            "description": "values ahead of those covariates that are known in advance; as many as prediction_length"
        }
    row = NUMBERS | {"maxItems": limits.max_rows}
    target: Json = {
        "anyOf": [row, {"type": "array", "items": row, "minItems": 1, "maxItems": limits.max_series}],
        "description": "numbers, oldest first, null for a missing value; or a list of such lists, one for each variate",
    }
    entry = structure({"target": target}, optional)
    series: Json = {"type": "array", "items": entry, "minItems": 1, "maxItems": limits.max_series}
    options: Json = {"type": ["object", "null"], "properties": parameters}
    return structure({"inputs": series}, {"parameters": options})


def answer_schema(prediction: Json, patterns: Json | None = None, more: Json | None = None) -> Json:
    """The JSON schema of an answer.

    Args:
        prediction: fields of a series that was answered.
        patterns: further ones, by a pattern of their names.
        more: further fields of the answer.
    """
    common: Json = {
        "item_id": {"type": ["string", "integer"]},
        **TIMES,
        "error": TEXT | {"description": "why this series was not answered; the other fields are missing then"},
    }
    one: Json = {"type": "object", "properties": common | WARNINGS | prediction}
    if patterns:
        one["patternProperties"] = patterns
    predictions: Json = {"type": "array", "items": one, "minItems": 1}
    return structure({"predictions": predictions}, WAYS | WARNINGS | (more or {}))


def example(points: int, limits: Settings) -> Fields:
    """The inputs of a valid request: one series of so many points, or of as many as the limits allow."""
    values = wave(min(points, limits.max_rows))
    return {"inputs": [{"item_id": "pump-7", "start": "2024-01-01T00:00:00", "target": values}]}
