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
    r"|freq: expected (a multiple of the precision|at most 2048 points to fill|a step of at most \d+\w+), .+"
)


@schemathesis.check
def a_refusal_is_one_sentence_of_json(ctx: CheckContext, response: Response, case: Case) -> None:
    """Also where the description has no such answer: to other methods and content types."""
    if response.status_code != 200:
        assert response.headers["content-type"] == ["application/json"]
        refusal = response.json()
        assert set(refusal) == {"status", "error"}
        assert refusal["status"] == "error"
        assert "\n" not in refusal["error"]


@schemathesis.check
def allowed_is_refused_only_for_what_no_schema_says(ctx: CheckContext, response: Response, case: Case) -> None:
    if case.meta.generation.mode.is_positive and response.status_code in (400, 413):
        assert NO_SCHEMA_SAYS.fullmatch(response.json()["error"]), "the description allows what was refused"


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
    known = schema["properties"]
    return set(value) - set(known) | {name for key in value for name in _undescribed(value[key], known.get(key, {}))}
