"""What a client is told when a request is refused before the app sees it: the same words under every server."""

from __future__ import annotations

import orjson

from tsfm.errors import QueueFull, TooLarge

# A key of the WSGI environment: a function that says whether the request's client has closed its connection.
CLIENT_LEFT = "tsfm.client_left"
# Requests with a body up to this size are admitted even when the bodies of others use the whole budget.
SMALL_BODY = 64 << 10

# The JSON schema of an error answer.
ERROR: dict[str, object] = {
    "type": "object",
    "required": ["status", "error"],
    "properties": {"status": {"const": "error"}, "error": {"type": "string"}},
}


def fields(sentence: str, _: int) -> dict[str, object]:
    """The fields of an error answer, from its sentence and its status."""
    return {"status": "error", "error": sentence}


def body(sentence: str) -> bytes:
    """The JSON body of an error answer before the path is read."""
    return orjson.dumps(fields(sentence, 0), option=orjson.OPT_APPEND_NEWLINE)


def too_large(limit: int) -> TooLarge:
    """The error for a body of ``limit`` bytes or more."""
    return TooLarge(f"body: expected at most {limit >> 20} MiB, got more")


def too_many(budget: int) -> QueueFull:
    """The error for a body that is received while others use more than ``budget`` bytes."""
    return QueueFull(
        f"too many request bodies in flight (queue_mib = {budget >> 20} MiB); retry in {QueueFull.retry_after_s} s"
    )
