"""The OpenAPI 3.1 description of the service, at /openapi.json; the tests fuzz the service with it."""

from __future__ import annotations

from dataclasses import fields

from tsfm import __version__
from tsfm.card import Card
from tsfm.engine import abilities, tasks
from tsfm.engine.schemas import TEXT, WHOLE, Json, structure
from tsfm.http.auth import OPEN_PATHS
from tsfm.http.page import description
from tsfm.http.protocols import paths
from tsfm.http.refusals import ERROR
from tsfm.series import Capabilities
from tsfm.settings import Settings

# Refusals on any path: before the path is read, or before it is used.
ANYWHERE = {
    "400": "the request is not well-formed HTTP",
    "413": "the body is larger than the limit allows",
    "429": "too many request bodies in flight",
    "431": "the headers are too large",
    "500": "the service failed before it could answer",
    "501": "a transfer encoding other than chunked",
}
REFUSALS = {
    "400": "bad input; one sentence names the field, what was expected and what came",
    "413": "input is larger than a limit allows",
    "415": "an encoding, or a table, that the service does not read",
    "429": "the queue is full",
    "500": "the model failed",
    "503": "loading or stopping",
    "504": "no answer within the deadline",
    "507": "the series needs more memory than there is",
}
RETRYABLE = ("429", "503")
EXAMPLE_POINTS = 12


def describe(card: Card, limits: Settings) -> Json:
    """The description of one family's service, with its limits."""
    post = _post(card.task, card.task, tasks.find(card.task).steps(), card, limits)
    described: Json = {path: {"post": post} for path in card.paths}
    for path, operation in paths.operations(card).items():
        described[path] = {"post": _post(path, paths.summary(path), operation.steps(), card, limits)}
    described |= {path: {"get": operation} for path, operation in _readers(card, limits).items()}
    if limits.page:
        without_token = _refused(Settings(**vars(limits) | {"token_file": None}))
        described |= description.paths(card.name, _plain_responses, _refused(limits), without_token)
    return {
        "openapi": "3.1.0",
        "info": {"title": f"taos-tsfm {card.name}", "version": __version__, "description": card.summary},
        "paths": described,
        **_security(limits),
    }


def _post(path: str, summary: str, steps: tasks.Steps, card: Card, limits: Settings) -> Json:
    """The operation that a task's steps answer."""
    request, response = steps.schema(card, limits)
    example = steps.example(max(EXAMPLE_POINTS, limits.min_rows), limits)
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": _content(request, example)},
        "responses": _responses("the answer", _content(response), _refused(limits) | REFUSALS, paths.refused(path)),
    }


def _security(limits: Settings) -> Json:
    if not limits.token_file:
        return {}
    scheme: Json = {"type": "http", "scheme": "bearer", "description": "the token of token_file"}
    return {"components": {"securitySchemes": {"token": scheme}}, "security": [{"token": []}]}


def _refused(limits: Settings) -> dict[str, str]:
    """Refusals on any path but the open ones, where allow or token_file is set."""
    refused = dict(ANYWHERE)
    if limits.token_file:
        refused["401"] = "the token is missing or wrong"
    if limits.allow:
        refused["403"] = "the client's address is in none of the networks of allow"
    return refused


def _readers(card: Card, limits: Settings) -> dict[str, Json]:
    """The operations that only read, by path."""
    not_ready = {"503": "the model is loading, hung or stopping"}
    metrics: Json = {"text/plain": {"schema": TEXT}}
    always: Json = {"openapi": {"const": "3.1.0"}, "info": {"type": "object"}, "paths": {"type": "object"}}
    document = structure(always, {"components": {"type": "object"}, "security": {"type": "array"}})
    one = structure({"models": {"type": "array", "minItems": 1, "maxItems": 1, "items": _model(limits)}})
    facts: dict[str, tuple[str, Json, dict[str, str]]] = {
        path: ("always the same", _content({"const": answer}), {}) for path, answer in paths.always(card).items()
    }
    for path, answer in paths.when_ready(card).items():
        facts[path] = ("the model answers", _content({"const": answer}), not_ready)
    facts |= {
        "/metrics": ("numbers for Prometheus", metrics, {}),
        "/v1/models": ("what is served", _content(one), {}),
        "/openapi.json": ("this description", _content(document), {}),
    }
    readers: dict[str, Json] = {}
    for path, (text, content, more) in facts.items():
        refused = ANYWHERE if path in OPEN_PATHS else _refused(limits)
        readers[path] = {"summary": text, "responses": _responses(text, content, refused | more, paths.refused(path))}
        if limits.token_file and path in OPEN_PATHS:
            readers[path]["security"] = []
    return readers


def _model(limits: Settings) -> Json:
    """The entry in /v1/models; the optional part is known only when the model is loaded."""
    names = [*(field.name for field in fields(Capabilities)), abilities.DETECTION]
    can = structure({name: {"type": "boolean"} for name in names})
    bounds = ("min_rows", "max_rows", "max_horizon", "max_series", "max_body_mib", "queue", "deadline_s")
    fixed: Json = {name: {"const": getattr(limits, name)} for name in bounds}
    most: Json = WHOLE | {"minimum": 0, "maximum": limits.max_covariates}
    always: Json = {
        "family": TEXT,
        "task": {"enum": tasks.names()},
        "sql": TEXT | {"description": "the family's name in SQL"},
        "version": TEXT,
        "engine": {"enum": ["native", "official"]},
        "licence": TEXT | {"description": "of the weights"},
        "commercial": {"enum": ["yes", "limited", "no"]},
        "year": WHOLE,
        "state": {"enum": ["loading", "ready", "stopping"]},
        "limits": structure(fixed | {"max_covariates": most}),
    }
    fit = structure({"past": WHOLE, "future": WHOLE}) | {"description": "that fit beside the longest horizon"}
    loaded: Json = {"checkpoint": TEXT, "capabilities": can, "max_context": WHOLE, "min_context": WHOLE, "path": TEXT}
    loaded["covariates_beside_max_horizon"] = fit
    loaded |= {name: {"enum": list(words)} for name, words in abilities.WORDS.items()}
    return structure(always, loaded)


def _content(schema: Json, example: Json | None = None) -> Json:
    return {"application/json": {"schema": schema} | ({"example": example} if example else {})}


def _plain_responses(text: str, content: Json, refused: dict[str, str]) -> Json:
    return _responses(text, content, refused, ERROR)


def _responses(text: str, content: Json, refused: dict[str, str], error: Json) -> Json:
    """All answers.

    Args:
        error: the schema of an error at this path; what is refused before the path is read has the common one.
    """
    again: Json = {"Retry-After": {"required": True, "description": "seconds", "schema": {"type": "integer"}}}
    responses: Json = {"200": {"description": text, "content": content}}
    for code, reason in sorted(refused.items()):
        headers = {"headers": again} if code in RETRYABLE else {}
        schema: Json = error if error == ERROR else {"anyOf": [error, ERROR]}
        responses[code] = {"description": reason, "content": _content(schema), **headers}
    return responses
