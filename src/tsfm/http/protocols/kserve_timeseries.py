"""KServe's time-series protocol: POST /v1/timeseries/forecast, with the types of ``kserve.protocol.rest.timeseries``.

Fields that its types do not have, such as covariates, are passed on: the types allow further ones.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from tsfm.card import Card
from tsfm.engine.fields import shown
from tsfm.engine.gather import Outcome
from tsfm.engine.schemas import TEXT, WARNINGS, Json, structure, wave
from tsfm.engine.tasks import Fields
from tsfm.engine.v1 import answers, forecast, inputs
from tsfm.engine.v1.forecast import ManyForecasts
from tsfm.engine.v1.inputs import Entry, Refused
from tsfm.engine.work import Many
from tsfm.errors import BadRequest
from tsfm.http.protocols.renamed import renamed, sentence
from tsfm.numerics.frequency import Frequency, Start
from tsfm.series import Family
from tsfm.settings import Settings

PATH = "/v1/timeseries/forecast"
UNIVARIATE, MULTIVARIATE = "univariate_time_series", "multivariate_time_series"
# The steps that KServe's names mean there, as ISO 8601 durations.
FREQUENCIES = {
    **dict.fromkeys(("second", "S"), "PT1S"),
    **dict.fromkeys(("minute", "T"), "PT1M"),
    **dict.fromkeys(("hour", "H"), "PT1H"),
    **dict.fromkeys(("day", "D"), "P1D"),
    **dict.fromkeys(("week", "W"), "P7D"),
    **dict.fromkeys(("month", "M"), "P1M"),
    **dict.fromkeys(("quarter", "Q"), "P3M"),
    **dict.fromkeys(("year", "Y"), "P1Y"),
}
# Fields there, and what they are called in a request for forecasts.
INPUTS = {"name": "item_id", "series": "target"}
OPTIONS = {"horizon": "prediction_length", "quantiles": "quantile_levels"}
OWN = ("type", "frequency", "start_timestamp")
BACK = {ours: theirs for theirs, ours in (INPUTS | OPTIONS).items()}


@dataclass(frozen=True)
class Labels:
    """What the answer for one series is made with: its type, the name of its frequency, and its start."""

    kind: str
    frequency: str
    start: Start | None


@dataclass(frozen=True)
class Translated:
    """A request of the protocol: the request for forecasts, and what its answer repeats."""

    request: ManyForecasts
    model: str
    labels: tuple[Labels, ...]


def read(fields: Fields, limits: Settings) -> Translated:
    """The checked request.

    Raises:
        BadRequest, TooLarge: one sentence that names the field, what was expected and what came.
    """
    model, series, options = (fields.get(name) for name in ("model", "inputs", "options"))
    if not isinstance(model, str):
        raise BadRequest(f"model: expected the name of a model, got {shown(model)}")
    if not isinstance(options, dict) or "horizon" not in options:
        raise BadRequest(f"options: expected an object with the field horizon, got {shown(options)}")
    entries = [_entry(at, one) for at, one in enumerate(series)] if isinstance(series, list) else []
    translated = {name: value for name, value in fields.items() if name not in ("model", "options", "metadata")} | {
        "inputs": [entry for entry, _ in entries] if isinstance(series, list) else series,
        "parameters": {OPTIONS.get(name, name): value for name, value in options.items()},
    }
    with renamed(BACK):
        return Translated(forecast.read(translated, limits), model, tuple(labels for _, labels in entries))


def work(request: Translated, model: Family, family: str) -> Many:
    """What the loaded model has to compute."""
    return forecast.work(request.request, model, family)


def finish(request: Translated, outcomes: Sequence[Outcome]) -> Fields:
    """The fields of the answer: an output for each series, completed or with its error."""
    answer = forecast.finish(request.request, outcomes)
    predictions = cast(list[Fields], answer.pop("predictions"))
    entries = zip(predictions, request.request.entries, request.labels, strict=True)
    outputs = [_output(*one) for one in entries]
    done = sum(output["status"] == "completed" for output in outputs)
    status = "completed" if done == len(outputs) else "partial" if done else "error"
    made = {"id": str(uuid.uuid4()), "created_at": int(time.time()), "status": status, "model": request.model}
    return made | {"error": None, "outputs": outputs, "usage": None} | answer


def refusal(text: str, status: int) -> Fields:
    """The protocol's own form of an error."""
    field = text.partition(":")[0]
    param = field if field != text and " " not in field else None
    return {"error": {"code": str(status), "message": text, "param": param, "type": HTTPStatus(status).name.lower()}}


ERROR: Json = structure({"message": TEXT, "type": TEXT}, {"code": TEXT, "param": {"type": ["string", "null"]}})
REFUSAL: Json = structure({"error": ERROR})


def schema(card: Card, limits: Settings) -> tuple[Json, Json]:
    """JSON schemas of the request and of the answer."""
    ours, _ = forecast.schema(card, limits)
    properties = cast(Any, ours)["properties"]
    target = properties["inputs"]["items"]["properties"]["target"]
    parameters = properties["parameters"]["properties"]
    kind: Json = {"enum": [UNIVARIATE, MULTIVARIATE]}
    frequency: Json = {"enum": list(FREQUENCIES)}
    entry = structure(
        {"type": kind, "name": TEXT, "series": target, "frequency": frequency},
        {"start_timestamp": {"type": ["string", "null"], "description": "ISO 8601"}},
    )
    options = structure(
        {"horizon": parameters["prediction_length"] | {"type": "integer"}},
        {"quantiles": parameters["quantile_levels"]},
    )
    series: Json = {"type": "array", "items": entry, "minItems": 1, "maxItems": limits.max_series}
    request = structure({"model": TEXT, "inputs": series, "options": options})
    made: Json = {"type": kind, "name": TEXT, "mean_forecast": answers.ROW, "frequency": frequency}
    content = structure(made | {"start_timestamp": TEXT, "quantiles": {"type": "object"}})
    status: Json = {"enum": ["completed", "partial", "error"]}
    outcome: Json = {"type": TEXT, "id": TEXT, "status": status, "content": {"type": "array", "items": content}}
    output = structure(outcome | {"error": {"anyOf": [ERROR, {"type": "null"}]}}, WARNINGS)
    head: Json = {"id": TEXT, "created_at": {"type": "integer"}, "status": status, "model": TEXT}
    outputs: Json = {"outputs": {"type": "array", "items": output, "minItems": 1}}
    none: Json = {"type": "null"}
    return request, structure(head | outputs | {"error": none, "usage": none}, answers.WAYS | WARNINGS)


def example(points: int, limits: Settings) -> Fields:
    """A valid request of so many points, or of as many as the limits allow."""
    series = {"type": UNIVARIATE, "name": "pump-7", "series": wave(min(points, limits.max_rows)), "frequency": "H"}
    options = {"horizon": min(3, limits.max_horizon), "quantiles": [0.1, 0.9]}
    return {
        "model": "any",
        "inputs": [series | {"start_timestamp": "2024-01-01T00:00:00Z"}],
        "options": options,
    }


def _entry(at: int, value: object) -> tuple[Fields, Labels]:
    """An entry of a request for forecasts, and what the answer is made with."""
    if not isinstance(value, dict):
        raise BadRequest(f"inputs[{at}]: expected an object, got {shown(value)}")
    kind, frequency, start = [value.get(name) for name in OWN]
    if kind not in (UNIVARIATE, MULTIVARIATE):
        raise BadRequest(f"inputs[{at}].type: expected {UNIVARIATE} or {MULTIVARIATE}, got {shown(kind)}")
    if not isinstance(frequency, str) or frequency not in FREQUENCIES:
        raise BadRequest(f"inputs[{at}].frequency: expected one of {', '.join(FREQUENCIES)}, got {shown(frequency)}")
    with renamed({"start": f"inputs[{at}].start_timestamp"}):
        labels = Labels(kind, frequency, inputs.start(start))
    entry: Fields = {INPUTS.get(name) or name: one for name, one in value.items() if name not in OWN}
    return entry, labels


def _output(prediction: Fields, entry: Entry | Refused, labels: Labels) -> Fields:
    """The output for one series; its times follow its own frequency, which may differ from that of the others."""
    head: Fields = {"type": "time_series_forecast", "id": str(uuid.uuid4())}
    try:
        if isinstance(entry, Refused) or "error" in prediction:
            raise BadRequest(sentence(str(prediction["error"]), BACK))
        start = _next(labels, len(entry.targets[0]))
    except BadRequest as error:
        return head | {"status": "error", "content": [], "error": refusal(str(error), error.status)["error"]}
    made: Fields = {
        "type": labels.kind,
        "name": str(prediction.get("item_id", "")),
        "mean_forecast": prediction["mean"],
        "frequency": labels.frequency,
        "start_timestamp": start,
        "quantiles": {level: row for level, row in prediction.items() if level[0].isdigit()},
    }
    warnings = {"warnings": prediction["warnings"]} if "warnings" in prediction else {}
    return head | {"status": "completed", "content": [made], "error": None} | warnings


def _next(labels: Labels, points: int) -> str:
    """The time of the first step; the type has a text always, so it is empty where the series has no start."""
    if labels.start is None:
        return ""
    try:
        return Frequency.of(FREQUENCIES[labels.frequency]).times(labels.start, points, 1)[0]
    except ValueError as error:
        raise BadRequest(f"start_timestamp: {error}, got later ones") from None
