"""The HTTP client of `tsfm forecast`: reads the model's facts and limits, sends a request, checks the answer."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tsfm.card import Card
from tsfm.errors import ConfigError, TsfmError
from tsfm.settings import Settings
from tsfm.system.loopback import Broken, Reply, Unreachable, exchange

LOOK_S = 10.0  # a service answers a GET at once, however busy its model is
WAIT_S = 120.0
SOON_S, LATEST_S = 0.1, 10.0  # shortest and longest pause between two requests to a service that loads
ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared with, never bound


@dataclass(frozen=True)
class Forecast:
    """The checked answer: three lists of ``horizon`` finite numbers, and the service's warnings."""

    median: list[float]
    lower: list[float]
    upper: list[float]
    warnings: list[str]


@dataclass(frozen=True)
class Target:
    """A service: the family that must answer there, its address, and the token for it."""

    card: Card
    base: str
    token: str = ""

    def get(self, path: str) -> Reply:
        return exchange(self.base + path, headers=self._headers(), timeout_s=LOOK_S)

    def post(self, path: str, fields: dict[str, object], timeout_s: float) -> Reply:
        kind = {"Content-Type": "application/json"}
        return exchange(self.base + path, json.dumps(fields).encode(), kind | self._headers(), timeout_s)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def target(card: Card, settings: Settings) -> Target:
    """The service of the family, from tsfm.ini.

    Raises:
        ConfigError: the token's file cannot be read.
    """
    host = ANY_HOST.get(settings.host, settings.host)
    address = f"[{host}]" if ":" in host else host
    return Target(card, f"http://{address}:{settings.port or card.port}", _token(card.name, settings.token_file))


def _token(family: str, file: str | None) -> str:
    if not file:
        return ""
    try:
        token = Path(file).read_text(encoding="latin-1").strip()
    except OSError as error:
        raise ConfigError(
            f"[{family}] token_file: {file} cannot be read: {error.strerror}; run this as a user who may read it"
        ) from None
    if not token or not token.isprintable():
        raise ConfigError(f"[{family}] token_file: expected a token in {file}, found none")
    return token


def facts(service: Target) -> dict[str, object]:
    """The answer of GET /v1/models about the family's model, ready or not.

    Raises:
        Unreachable: nothing listens there.
        ConfigError: another server or family uses the port, or the service refuses us.
    """
    family, base = service.card.name, service.base
    try:
        reply = service.get("/v1/models")
    except Broken as error:
        raise ConfigError(f"{error}; {_other(family)}") from None
    if reply.status == 401:
        remedy = "its token_file holds another token" if service.token else "token_file is not set here"
        raise ConfigError(f"{base} requires a token: {remedy}; see [{family}] of tsfm.ini")
    if reply.status == 403:
        raise ConfigError(f"{base} refuses this host: {sentence(reply)}; add it to allow in [{family}] of tsfm.ini")
    if reply.status == 503:
        return {"state": "loading"}
    found = _fields(reply).get("models")
    models = [model for model in found if isinstance(model, dict)] if isinstance(found, list) else []
    if reply.status != 200 or not models or "family" not in models[0]:
        kind = reply.headers.get("content-type", "nothing").partition(";")[0]
        raise ConfigError(
            f"{base} is no service of taos-tsfm: it answered {reply.status} with {kind}; {_other(family)}"
        )
    if models[0]["family"] != family:
        raise ConfigError(f"{base} serves {models[0]['family']}, not {family}; {_other(family)}")
    return models[0]


def wait(service: Target, starting: Callable[[], None] | None = None) -> dict[str, object]:
    """Wait until the model is ready and return its facts; stderr shows what it waits for.

    Args:
        starting: given if the service may not listen yet; called before each request, raises if it never will.

    Raises:
        Unreachable: nothing listens there, or not any more.
        TsfmError: not ready within WAIT_S.
    """
    began, pause, said = time.monotonic(), SOON_S, LATEST_S if starting else 0.0
    while (passed := time.monotonic() - began) < WAIT_S:
        if starting:
            starting()
        try:
            known = facts(service)
            ready = service.get("/readyz")
        except Unreachable:
            if not starting:
                raise
            time.sleep(SOON_S)
            continue
        if known.get("state") == "ready" and ready.status == 200:
            return known
        if passed >= said:
            print(f"{service.base}: {sentence(ready)}; waiting, {passed:.0f} of {WAIT_S:.0f} s", file=sys.stderr)
            said = passed + LATEST_S
        time.sleep(pause)  # the service sends no event when it is ready
        pause = min(pause * 1.5, _retry_after(ready))
    raise TsfmError(
        f"{service.base} was not ready after {WAIT_S:.0f} s; see: systemctl status tsfm@{service.card.name}"
    )


def forecast(service: Target, fields: dict[str, object], horizon: int, timeout_s: float) -> Forecast:
    """POST a request, repeat it after 429 or 503, and check the answer.

    Raises:
        Refused: the service refuses the request; the sentence is its own.
        TsfmError: the answer is no forecast.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        reply = service.post(service.card.paths[0], fields, max(deadline - time.monotonic(), 1))
        left = deadline - time.monotonic()
        if reply.status not in (429, 503) or left <= _retry_after(reply):
            break
        print(f"{service.base}: {sentence(reply)}; asking again", file=sys.stderr)
        time.sleep(_retry_after(reply))
    if reply.status != 200:
        raise Refused(sentence(reply))
    answer = _fields(reply)
    median, lower, upper = (_numbers(service.base, answer, name, horizon) for name in ("output", "lower", "upper"))
    told = answer.get("warnings")
    return Forecast(median, lower, upper, [str(one) for one in told] if isinstance(told, list) else [])


class Refused(TsfmError):
    """The service's own sentence, which names fields of the HTTP request."""


def sentence(reply: Reply) -> str:
    """The reason in an answer other than 200."""
    said = _fields(reply).get("error")
    return said if isinstance(said, str) else f"HTTP status {reply.status}"


def _numbers(base: str, answer: dict[str, object], name: str, horizon: int) -> list[float]:
    values = answer.get(name)
    if not isinstance(values, list) or not _finite(values) or len(values) != horizon:
        raise TsfmError(f"{base}: expected {horizon} numbers as {name} in the answer, got something else")
    return [float(value) for value in values]


def _finite(values: Sequence[object]) -> bool:
    return all(type(value) in (int, float) and math.isfinite(value) for value in values)  # type: ignore[arg-type]


def _fields(reply: Reply) -> dict[str, object]:
    """The JSON object in an answer; empty when the body is none."""
    try:
        value = json.loads(reply.body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _retry_after(reply: Reply) -> float:
    said = reply.headers.get("retry-after", "")
    return max(float(said), SOON_S) if said.isdecimal() else 1.0


def _other(family: str) -> str:
    return f"stop that server, or set another port in [{family}] of tsfm.ini"
