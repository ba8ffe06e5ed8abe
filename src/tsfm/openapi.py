"""The service's own description, OpenAPI 3.1, at /openapi.json."""

from __future__ import annotations

from tsfm import __version__
from tsfm.card import Card
from tsfm.parse import DEFAULT_CONFIDENCE, DEFAULT_HORIZON
from tsfm.settings import Settings

JSON = dict[str, object]
NUMBERS: JSON = {"type": "array", "items": {"type": ["number", "null"]}}
TIMES: JSON = {"type": "array", "items": {"type": "integer"}}
REFUSALS = {
    "400": "bad input, told in one sentence",
    "413": "more than a limit allows",
    "429": "the queue is full",
    "500": "the model failed",
    "503": "loading or stopping",
    "504": "no answer within the deadline",
    "507": "the series needs more memory than there is",
}
ERROR: JSON = {
    "type": "object",
    "required": ["status", "error"],
    "properties": {"status": {"const": "error"}, "error": {"type": "string"}},
}
READERS = {"/healthz": "the process lives", "/readyz": "the model answers", "/v1/models": "what is served"}


def describe(card: Card, limits: Settings) -> JSON:
    """The description of one family's service, with its limits."""
    ask, answer = {"forecast": _forecast, "imputation": _imputation}[card.task](limits)
    post = {
        "summary": card.task,
        "requestBody": {"required": True, "content": _content(ask)},
        "responses": {
            "200": {"description": "the answer", "content": _content(answer)},
            **{code: {"description": text, "content": _content(ERROR)} for code, text in REFUSALS.items()},
        },
    }
    paths: JSON = {path: {"post": post} for path in card.paths}
    for path, text in READERS.items():
        paths[path] = {"get": {"summary": text, "responses": {"200": {"description": text}}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"taos-tsfm {card.name}", "version": __version__, "description": card.summary},
        "paths": paths,
    }


def _forecast(limits: Settings) -> tuple[JSON, JSON]:
    rows = {"minItems": limits.min_rows, "maxItems": limits.max_rows}
    whole = {"type": "integer", "minimum": 1, "maximum": limits.max_horizon, "default": DEFAULT_HORIZON}
    interval = {"type": "number", "minimum": 0, "exclusiveMaximum": 1, "default": DEFAULT_CONFIDENCE}
    ask: JSON = {
        "type": "object",
        "required": ["input"],
        "properties": {
            "input": NUMBERS | rows,
            "next_len": whole,
            "conf_interval": interval,
            "ts": TIMES,
            "past_dynamic_real": {"type": "array", "items": NUMBERS},
            "dynamic_real": {"type": "array", "items": NUMBERS},
        },
    }
    floats: JSON = {"type": "array", "items": {"type": "number"}}
    fields = {"status": {"const": "success"}, "output": floats, "lower": floats, "upper": floats}
    return ask, _object(fields | {"conf_interval": {"type": "number"}})


def _imputation(limits: Settings) -> tuple[JSON, JSON]:
    text: JSON = {"type": "string"}
    ask = _object({"input": NUMBERS, "ts": TIMES, "precision": text, "freq": text})
    ask["required"] = ["input", "ts"]
    floats: JSON = {"type": "array", "items": {"type": "number"}}
    mask: JSON = {"type": "array", "items": {"enum": [0, 1]}}
    return ask, _object({"status": {"const": "success"}, "ts": TIMES, "target": floats, "mask": mask})


def _object(properties: JSON) -> JSON:
    return {"type": "object", "required": list(properties), "properties": properties}


def _content(schema: JSON) -> JSON:
    return {"application/json": {"schema": schema}}
