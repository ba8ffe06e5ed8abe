"""What an answer promises beyond status, content type, headers and schema: checks that Schemathesis runs on each."""

from __future__ import annotations

import re

import schemathesis
from schemathesis import Case, CheckContext, Response

# What one field asks of another: the descriptions of the fields say it in words.
NO_SCHEMA_SAYS = re.compile(
    r"ts: expected \d+ timestamps, one for each point of input, got \d+"
    r"|ts: expected oldest first, got an earlier timestamp at position \d+"
    r"|ts\[\d+\]: expected (oldest first|a whole number of steps of freq \(\d+\) after the first timestamp), .+"
    r"|(inputs\[\d+\]\.)?start(_timestamp)?: expected a time in ISO 8601 such as 2024-01-31T12:00:00, got .+"
    r"|start: expected times up to the year 9999, got later ones"
    r"|target: expected (variates of one length, got [\d, ]+ points|at least one number, got \d+ missing values)"
    r"|target: expected at least \d+ points for \d+ windows, got \d+: send more points, or fewer or shorter windows"
    r"|target(\[\d+\])?: \w+ needs at least \d+ observed points among the newest \d+, got \d+"
    r"|(past|future)_covariates\..*: expected .+, got .+"
    r"|(past_)?dynamic_real(\[\d+\])?: expected .+, got .+"
    r"|covariates: expected at most 2, got \d+"  # of both kinds together
    r"|future_covariates: expected names of past_covariates, which hold their history, got .+"
    r"|inputs: expected at most 4 series, got \d+ \(max_series\)"  # variates and windows count
    r"|inputs\[\d+\]\.data(\[\d+\])?: expected .+"  # a tensor's values, its datatype and its shape belong together
    r"|inputs: expected (tensors with the names|a tensor target|one (value|row) of) .+"
    r"|series \d+ of \d+: .+"
    r"|target: expected more than 16 observed points, .+"
    r"|(parameters\.)?quantile_levels(\[\d+\])?: expected .+"
    r"|freq: expected (a multiple of the precision|at most 2048 points to fill|a step of at most \d+\w+), .+"
)


# No schema says what a table is, nor which limits a neighbour has.
FREE_FORM = ("/v1/table", "/v1/neighbours")


def sentence(response: Response, path: str) -> str:
    """The sentence of a refusal, in the form that its path has for it."""
    refusal = response.json()
    if path == "/v1/timeseries/forecast" and isinstance(refusal["error"], dict):
        assert set(refusal) == {"error"}
        assert set(refusal["error"]) == {"code", "message", "param", "type"}
        return refusal["error"]["message"]
    # Before the path is read, all have one form.
    assert set(refusal) in ({"status", "error"}, {"error"} if path.startswith("/v2") else ())
    assert refusal.get("status", "error") == "error"
    return refusal["error"]


@schemathesis.check
def a_refusal_is_one_sentence_of_json(ctx: CheckContext, response: Response, case: Case) -> None:
    """Also where the description has no such answer: to other methods and content types."""
    if response.status_code != 200:
        assert response.headers["content-type"] == ["application/json"]
        assert "\n" not in sentence(response, case.path)


@schemathesis.check
def allowed_is_refused_only_for_what_no_schema_says(ctx: CheckContext, response: Response, case: Case) -> None:
    if case.operation.path in FREE_FORM:
        return
    if case.meta.generation.mode.is_positive and response.status_code in (400, 413):
        assert NO_SCHEMA_SAYS.fullmatch(sentence(response, case.path)), "the description allows what was refused"


def answers_many(response: Response, case: Case) -> bool:
    paths = ("/v1/forecast", "/v1/imputation", "/v1/cross_validation", "/v1/anomaly_detection", "/invocations")
    return case.method == "POST" and case.path in paths and response.status_code == 200


def as_json(response: Response) -> bool:
    """Sent as JSON: another content type is forbidden by the description, and not looked at by the service."""
    return response.request.headers.get("Content-Type") == "application/json"


@schemathesis.check
def a_forbidden_series_is_refused_in_its_place(ctx: CheckContext, response: Response, case: Case) -> None:
    """Under /v1, where the rest of a request is answered; elsewhere negative_data_rejection asks for a refusal."""
    if answers_many(response, case) and case.meta.generation.mode.is_negative and as_json(response):
        assert any("error" in one for one in response.json()["predictions"]), "what is forbidden was answered"


@schemathesis.check
def an_allowed_series_is_refused_only_for_what_no_schema_says(
    ctx: CheckContext, response: Response, case: Case
) -> None:
    if answers_many(response, case) and case.meta.generation.mode.is_positive:
        for one in response.json()["predictions"]:
            assert "error" not in one or NO_SCHEMA_SAYS.fullmatch(one["error"]), f"refused: {one['error']}"


@schemathesis.check
def every_field_is_described(ctx: CheckContext, response: Response, case: Case) -> None:
    if response.status_code == 200 and response.headers["content-type"] == ["application/json"]:
        content = case.operation.definition.raw["responses"]["200"]["content"]
        extra = _undescribed(response.json(), content["application/json"]["schema"])
        assert not extra, f"not described: {', '.join(sorted(extra))}"


def _undescribed(value: object, schema: dict) -> set[str]:
    if isinstance(value, list):
        return {name for item in value for name in _undescribed(item, schema.get("items", {}))}
    if not isinstance(value, dict) or "properties" not in schema:
        return set()
    known = {key: _schema_of(key, schema) for key in value}
    return {key for key in value if known[key] is None} | {
        name for key in value for name in _undescribed(value[key], known[key] or {})
    }


def _schema_of(key: str, schema: dict) -> dict | None:
    patterns = schema.get("patternProperties", {})
    return schema["properties"].get(key) or next((patterns[one] for one in patterns if re.search(one, key)), None)
