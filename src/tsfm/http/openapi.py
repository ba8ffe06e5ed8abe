"""The service's own description, OpenAPI 3.1, at /openapi.json; the tests fuzz the service by it."""

from __future__ import annotations

from dataclasses import fields

from tsfm import __version__
from tsfm.card import Card
from tsfm.http.auth import OPEN_PATHS
from tsfm.http.imputation import DEFAULT_FREQ, DEFAULT_PRECISION, MAX_FILLED, MAX_ROWS, PRECISIONS_NS, UNITS_NS
from tsfm.http.requests import DEFAULT_CONFIDENCE, DEFAULT_HORIZON
from tsfm.series import Capabilities
from tsfm.settings import Settings

JSON = dict[str, object]
TEXT: JSON = {"type": "string"}
WHOLE: JSON = {"type": "integer"}
FLOATS: JSON = {"type": "array", "items": {"type": "number"}}
TIME: JSON = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
# At least one value is observed; the others may be missing.
GAPPY: JSON = {"type": "array", "items": {"type": ["number", "null"]}}
NUMBERS: JSON = GAPPY | {"contains": {"type": "number"}}
WARNINGS: JSON = {
    "warnings": {"type": "array", "items": TEXT, "minItems": 1, "description": "only where there is something to tell"}
}

# What is refused on any path: before the path is read, or before it is looked at.
ANYWHERE = {
    "400": "the request is not well-formed HTTP",
    "413": "the body is larger than the limit allows",
    "429": "requests together are larger than what may wait",
    "431": "the headers are too large",
    "500": "the service failed before it could answer",
    "501": "a transfer encoding other than chunked",
}
REFUSALS = {
    "400": "bad input, told in one sentence",
    "413": "more than a limit allows",
    "415": "the body is compressed",
    "429": "the queue is full",
    "500": "the model failed",
    "503": "loading or stopping",
    "504": "no answer within the deadline",
    "507": "the series needs more memory than there is",
}
COME_AGAIN = ("429", "503")
ERROR: JSON = {
    "type": "object",
    "required": ["status", "error"],
    "properties": {"status": {"const": "error"}, "error": TEXT},
}


def describe(card: Card, limits: Settings) -> JSON:
    """The description of one family's service, with its limits."""
    ask, answer = {"forecast": _forecast, "imputation": _imputation}[card.task](card, limits)
    post: JSON = {
        "summary": card.task,
        "requestBody": {"required": True, "content": ask},
        "responses": _responses("the answer", _content(answer), _refused(limits) | REFUSALS),
    }
    paths: JSON = {path: {"post": post} for path in card.paths}
    paths |= {path: {"get": operation} for path, operation in _readers(limits).items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"taos-tsfm {card.name}", "version": __version__, "description": card.summary},
        "paths": paths,
        **_security(limits),
    }


def _security(limits: Settings) -> JSON:
    if not limits.token_file:
        return {}
    scheme: JSON = {"type": "http", "scheme": "bearer", "description": "the token of token_file"}
    return {"components": {"securitySchemes": {"token": scheme}}, "security": [{"token": []}]}


def _refused(limits: Settings) -> dict[str, str]:
    """What any path may refuse with, where not everyone may ask."""
    refused = dict(ANYWHERE)
    if limits.token_file:
        refused["401"] = "the token is missing or wrong"
    if limits.allow:
        refused["403"] = "the sender is in none of the networks that may ask"
    return refused


def _readers(limits: Settings) -> dict[str, JSON]:
    """The operations that only read, by path."""
    not_ready = {"503": "the model loads, hangs or stops"}
    metrics: JSON = {"text/plain": {"schema": TEXT}}
    always: JSON = {"openapi": {"const": "3.1.0"}, "info": {"type": "object"}, "paths": {"type": "object"}}
    description = _object(always, {"components": {"type": "object"}, "security": {"type": "array"}})
    one = _object({"models": {"type": "array", "minItems": 1, "maxItems": 1, "items": _model(limits)}})
    told = {
        "/healthz": ("the process lives", _content(_object({"status": {"const": "alive"}})), {}),
        "/readyz": ("the model answers", _content(_object({"status": {"const": "ready"}})), not_ready),
        "/metrics": ("numbers for Prometheus", metrics, {}),
        "/v1/models": ("what is served", _content(one), {}),
        "/openapi.json": ("this description", _content(description), {}),
    }
    readers: dict[str, JSON] = {}
    for path, (text, content, more) in told.items():
        refused = ANYWHERE if path in OPEN_PATHS else _refused(limits)
        readers[path] = {"summary": text, "responses": _responses(text, content, refused | more)}
        if limits.token_file and path in OPEN_PATHS:
            readers[path]["security"] = []
    return readers


def _model(limits: Settings) -> JSON:
    """What /v1/models tells of the model; the rest is known only when it is loaded."""
    can = _object({field.name: {"type": "boolean"} for field in fields(Capabilities)})
    bounds = ("min_rows", "max_rows", "max_horizon", "max_body_mib", "queue", "deadline_s")
    fixed: JSON = {name: {"const": getattr(limits, name)} for name in bounds}
    most: JSON = WHOLE | {"minimum": 0, "maximum": limits.max_covariates}
    always: JSON = {
        "family": TEXT,
        "task": {"enum": ["forecast", "imputation"]},
        "version": TEXT,
        "state": {"enum": ["loading", "ready", "stopping"]},
        "limits": _object(fixed | {"max_covariates": most}),
    }
    fit = _object({"past": WHOLE, "future": WHOLE}) | {"description": "that fit beside the longest horizon"}
    loaded: JSON = {"checkpoint": TEXT, "capabilities": can, "max_context": WHOLE, "min_context": WHOLE, "path": TEXT}
    loaded["covariates_beside_max_horizon"] = fit
    return _object(always, loaded)


def _forecast(card: Card, limits: Settings) -> tuple[JSON, JSON]:
    whole: JSON = {"type": ["integer", "null"], "minimum": 1, "maximum": limits.max_horizon, "default": DEFAULT_HORIZON}
    interval: JSON = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
    series = _rows(NUMBERS, limits.min_rows, limits.max_rows)
    times = _rows({"type": ["array", "null"], "items": TIME}, 0, limits.max_rows)
    asked: JSON = interval | {"type": ["number", "null"], "default": DEFAULT_CONFIDENCE}
    ask = _object(
        {"input": series | {"description": "oldest first; null for a missing value"}},
        {
            "next_len": whole,
            "conf_interval": asked,
            "ts": times | {"description": "one for each point of input, oldest first; or none"},
            "past_dynamic_real": _covariates(card, limits, "past_covariates", "as long as input"),
            "dynamic_real": _covariates(card, limits, "future_covariates", "as long as input and next_len together"),
        },
    )
    example: JSON = {"input": _wave(limits.min_rows, limits.max_rows), "next_len": min(3, limits.max_horizon)}
    steps = _rows(FLOATS, 1, limits.max_horizon)
    success: JSON = {"status": {"const": "success"}, "output": steps, "lower": steps, "upper": steps}
    return _content(ask, example), _object(success | {"conf_interval": interval}, WARNINGS)


def _covariates(card: Card, limits: Settings, capability: str, length: str) -> JSON:
    taken = any(capability in checkpoint.capabilities for checkpoint in card.checkpoints)
    return {
        "type": ["array", "null"],
        "maxItems": limits.max_covariates if taken else 0,
        "items": GAPPY,
        "description": f"each {length}, if the checkpoint takes them" if taken else f"{card.name} takes none",
    }


def _imputation(card: Card, limits: Settings) -> tuple[JSON, JSON]:
    most = min(limits.max_rows, MAX_ROWS)
    steps = f"^(?!0+[A-Za-z])[0-9]{{0,18}}({'|'.join(UNITS_NS)})$"
    times = _rows({"type": "array", "items": TIME, "uniqueItems": True}, limits.min_rows, most)
    ask = _object(
        {
            "input": _rows(NUMBERS, limits.min_rows, most) | {"description": "null for a missing value"},
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
    values = _wave(limits.min_rows, most)
    # One row is missing before the last.
    minutes = [*range(len(values) - 1), len(values)]
    example: JSON = {"input": values, "ts": [60 * minute for minute in minutes], "precision": "s", "freq": "1m"}
    mask: JSON = {"type": "array", "items": {"enum": [0, 1]}}
    success: JSON = {"status": {"const": "success"}, "ts": {"type": "array", "items": TIME}}
    return _content(ask, example), _object(success | {"target": FLOATS, "mask": mask}, WARNINGS)


def _wave(least: int, most: int) -> list[int]:
    """An example's series, at most a dozen points if it may be so short."""
    return [3 + i % 5 + i // 3 for i in range(min(max(least, 12), most))]


def _rows(array: JSON, least: int, most: int) -> JSON:
    return array | {"minItems": least, "maxItems": most}


def _object(always: JSON, sometimes: JSON | None = None) -> JSON:
    return {"type": "object", "required": list(always), "properties": always | (sometimes or {})}


def _content(schema: JSON, example: JSON | None = None) -> JSON:
    return {"application/json": {"schema": schema} | ({"example": example} if example else {})}


def _responses(text: str, content: JSON, refused: dict[str, str]) -> JSON:
    again: JSON = {"Retry-After": {"required": True, "description": "seconds", "schema": {"type": "integer"}}}
    responses: JSON = {"200": {"description": text, "content": content}}
    for code, reason in sorted(refused.items()):
        headers = {"headers": again} if code in COME_AGAIN else {}
        responses[code] = {"description": reason, "content": _content(ERROR), **headers}
    return responses
