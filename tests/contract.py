"""Requests of every kind, which each way of serving answers with the same bytes; ``same`` compares two servers."""

from __future__ import annotations

import gzip
import http.client
import json
from contextlib import suppress
from typing import Protocol

import numpy as np
from backports import zstd
from conftest import Answer

WALK = [3.0, 4.0, 2.0, 5.0, 4.0, 6.0, 5.5, 7.0, 6.0, 8.0, 7.5, 9.0]
COMPARED = ("content-type", "allow", "retry-after", "content-length")
LARGE = [*np.sin(np.arange(39_000) / 5).tolist(), 1.0, 2.0]  # in JSON more than the app parses in its own process


class Served(Protocol):
    """Where a server listens."""

    address: str
    port: int


def ask(live: Served, method: str, target: str, body: bytes | None = None, headers: dict | None = None) -> Answer:
    """One request, exactly as given: target, header names and all."""
    connection = http.client.HTTPConnection(live.address, live.port, timeout=60)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        given = dict(headers or {})
        if body is not None and "Transfer-Encoding" not in given:
            given.setdefault("Content-Length", str(len(body)))
        for name, value in given.items():
            connection.putheader(name, value)
        connection.endheaders()
        with suppress(BrokenPipeError, ConnectionResetError):  # it may be refused before it is sent
            connection.send(body or b"")
        reply = connection.getresponse()
        return Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
    finally:
        connection.close()


def same(pair, *request, **more) -> Answer:
    """Both servers' answer, which is one."""
    ours, other = (ask(live, *request, **more) for live in pair)
    assert other.status == ours.status
    assert other.body == ours.body
    headers = [{name: one.headers.get(name) for name in COMPARED} for one in (ours, other)]
    assert headers[1] == headers[0]
    return other


def sent(**fields) -> bytes:
    return json.dumps(fields).encode()


def chunks(body: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:10], body[10:])) + b"0\r\n\r\n"


def many(count, target=WALK, **parameters):
    return sent(inputs=[{"item_id": at, "target": target[at % 3 :]} for at in range(count)], parameters=parameters)


GOOD = sent(input=WALK, next_len=4)
POST = ("POST", "/ds_predict")
CHUNKED = {"Transfer-Encoding": "chunked"}
CASES = {
    "good": (200, *POST, GOOD),
    "interval": (200, *POST, sent(input=WALK, next_len=4, conf_interval=0.8)),
    "defaults": (200, *POST, sent(input=WALK)),
    "constant": (200, *POST, sent(input=[7.25] * 20, next_len=3)),
    "gaps": (200, *POST, sent(input=[1.0, None, *WALK])),
    "NaN": (200, *POST, GOOD.replace(b"5.5", b"NaN")),
    "unknown field": (200, *POST, sent(input=WALK, horizon=3)),
    "chunked": (200, *POST, chunks(GOOD), CHUNKED),
    "large": (200, *POST, sent(input=LARGE)),
    "many": (200, "POST", "/v1/forecast", many(3)),
    "many in pieces": (200, "POST", "/v1/forecast", many(600, prediction_length=20)),
    "many and large": (200, "POST", "/v1/forecast", many(900, WALK * 5, prediction_length=20, freq="h")),
    "many and bad": (400, "POST", "/v1/forecast", many(0)),
    "windows": (200, "POST", "/v1/cross_validation", many(20, n_windows=2)),
    "another task": (404, "POST", "/v1/imputation", many(1)),
    "no type": (200, *POST, GOOD, {"Content-Type": "text/plain"}),
    "underscore": (200, *POST, GOOD, {"Content_Encoding": "gzip"}),
    "identity": (200, *POST, GOOD, {"Content-Encoding": "identity"}),
    "no body": (400, *POST),
    "empty body": (400, *POST, b""),
    "bad JSON": (400, *POST, b'{"input": [1, 2'),
    "not UTF-8": (400, *POST, b'{"input": "\xff"}'),
    "no object": (400, *POST, b"[1, 2, 3]"),
    "large and bad": (400, *POST, sent(input=[*LARGE, "x"])),
    "no input": (400, *POST, sent(next_len=4)),
    "wrong type": (400, *POST, sent(input=[1, 2, "x", *WALK])),
    "wrong horizon": (400, *POST, sent(input=WALK, next_len=0)),
    "wrong interval": (400, *POST, sent(input=WALK, conf_interval=2)),
    "covariates by a regression": (200, *POST, sent(input=WALK, past_dynamic_real=[WALK])),
    "covariates of another length": (400, *POST, sent(input=WALK, past_dynamic_real=[WALK[1:]])),
    "unknown path": (404, "POST", "/nope", GOOD),
    "trailing slash": (404, "POST", "/ds_predict/", GOOD),
    "not under the root": (404, "GET", "/healthz/../readyz"),
    "Chinese": (404, "GET", "/%e4%b8%ad?%ff"),
    "no UTF-8 in the path": (404, "GET", "/%ff%00%0aforged"),
    "asterisk": (404, "OPTIONS", "*"),
    "leading slashes": (200, "POST", "///ds_predict", GOOD),
    "percent": (200, "POST", "/ds%5Fpredict?a=b&a", GOOD),
    "whole URL": (200, "POST", "http://elsewhere/ds_predict", GOOD),
    "GET": (405, "GET", "/ds_predict"),
    "PUT": (405, "PUT", "/ds_predict", GOOD),
    "OPTIONS": (405, "OPTIONS", "/ds_predict"),
    "made-up method": (405, "BREW", "/ds_predict"),
    "POST to a reader": (405, "POST", "/healthz", GOOD),
    "HEAD of a POST path": (405, "HEAD", "/ds_predict"),
    "HEAD": (200, "HEAD", "/healthz"),
    "HEAD of nothing": (404, "HEAD", "/nope"),
    "declared too large": (413, *POST, b"", {"Content-Length": str(2 << 20)}),
    "chunked too large": (413, *POST, b"%x\r\n" % (3 << 20) + b" " * (3 << 20) + b"\r\n0\r\n\r\n", CHUNKED),
    "too many points": (413, *POST, sent(input=[1.0] * 41_000)),
    "gzip": (200, *POST, gzip.compress(GOOD), {"Content-Encoding": "GZIP"}),
    "zstd": (200, *POST, zstd.compress(GOOD), {"Content-Encoding": "zstd"}),
    "large gzip": (200, *POST, gzip.compress(sent(input=LARGE)), {"Content-Encoding": "gzip"}),
    "not gzip": (400, *POST, GOOD, {"Content-Encoding": "gzip"}),
    "brotli": (415, *POST, GOOD, {"Content-Encoding": "br"}),
    "two encodings": (415, *POST, GOOD, {"Content-Encoding": "identity, br"}),
    "alive": (200, "GET", "/healthz"),
    "GET with a body": (200, "GET", "/healthz", b"{}"),
    "ready": (200, "GET", "/readyz"),
    "models": (200, "GET", "/v1/models"),
    "description": (200, "GET", "/openapi.json"),
}
