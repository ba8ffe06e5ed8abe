"""The HTTP client of the commands: reads a model's facts and limits, waits for it, sends a request."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tsfm.card import Card
from tsfm.errors import ConfigError, TsfmError
from tsfm.settings import Settings, authority
from tsfm.system.loopback import Broken, Reply, Unreachable, exchange

LOOK_S = 10.0  # a service answers a GET at once, however busy its model is
WAIT_S = 120.0
SOON_S, LATEST_S = 0.1, 10.0  # shortest and longest pause between two requests to a service that loads
OWN_S = 0.5  # the longest where the command has started the service itself
ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared with, never bound


@dataclass(frozen=True)
class Target:
    """A service: the family that must answer there, its address, and the token for it."""

    card: Card
    base: str
    token: str = ""

    def get(self, path: str, timeout_s: float = LOOK_S) -> Reply:
        return exchange(self.base + path, headers=self._headers(), timeout_s=timeout_s)

    def post(self, path: str, body: bytes, timeout_s: float) -> Reply:
        kind = {"Content-Type": "application/json"}
        return exchange(self.base + path, body, kind | self._headers(), timeout_s)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def target(card: Card, settings: Settings, host: str | None = None) -> Target:
    """The service of the family, from tsfm.ini.

    Args:
        host: another host that serves it; None: this one.

    Raises:
        ConfigError: the token's file cannot be read.
    """
    host = host or ANY_HOST.get(settings.host, settings.host)
    base = f"http://{authority(host, settings.port or card.port)}"
    return Target(card, base, _token(card.name, settings.token_file))


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


class NoAnswer(ConfigError):
    """A server accepted the connection and gave no answer."""


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
        raise NoAnswer(f"{error}; {_other(family)}") from None
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
    began, pause, next_line = time.monotonic(), SOON_S, LATEST_S if starting else 0.0
    while (passed := time.monotonic() - began) < WAIT_S:
        if starting:
            starting()
        try:
            known = facts(service)
            ready = service.get("/readyz")
        except (Unreachable, NoAnswer, Broken):  # one that ends while it is asked breaks the connection
            if not starting:
                raise
            time.sleep(SOON_S)
            continue
        if known.get("state") == "ready" and ready.status == 200:
            return known
        if passed >= next_line:
            print(f"{service.base}: {sentence(ready)}; waiting, {passed:.0f} of {WAIT_S:.0f} s", file=sys.stderr)
            next_line = passed + LATEST_S
        time.sleep(pause)  # the service sends no event when it is ready
        pause = min(pause * 1.5, OWN_S if starting else _retry_after(ready))
    raise TsfmError(
        f"{service.base} was not ready after {WAIT_S:.0f} s; see: systemctl status tsfm@{service.card.name}"
    )


def request(service: Target, path: str, body: bytes, timeout_s: float) -> dict[str, object]:
    """POST a request, repeat it after 429 or 503, and return the fields of the answer.

    Raises:
        Refused: the service refuses the request; the sentence is its own.
        TsfmError: the answer is no JSON object.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        reply = service.post(path, body, max(deadline - time.monotonic(), 1))
        left = deadline - time.monotonic()
        if reply.status not in (429, 503) or left <= _retry_after(reply):
            break
        print(f"{service.base}: {sentence(reply)}; asking again", file=sys.stderr)
        time.sleep(_retry_after(reply))
    if reply.status != 200:
        raise Refused(reply)
    return _fields(reply)


def entries(service: Target, answer: dict[str, object], name: str, count: int) -> list[dict[str, object]]:
    """The list of objects in an answer, one for each series that was sent.

    Raises:
        TsfmError: there is none of this length.
    """
    found = answer.get(name)
    objects = [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
    if len(objects) != count:
        raise TsfmError(
            f"{service.base}: expected one entry for each of {count} series as {name} in the answer, got something else"
        )
    return objects


def texts(value: object) -> list[str]:
    """A list of texts in an answer; anything else is empty."""
    return [str(one) for one in value] if isinstance(value, list) else []


class Refused(TsfmError):
    """The service's own sentence, which names fields of the HTTP request."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(sentence(reply))
        self.is_too_much = reply.status in (413, 504, 507)  # a part of the request may do


def sentence(reply: Reply) -> str:
    """The reason in an answer other than 200."""
    reason = _fields(reply).get("error")
    return reason if isinstance(reason, str) else f"HTTP status {reply.status}"


def _fields(reply: Reply) -> dict[str, object]:
    """The JSON object in an answer; empty when the body is none."""
    try:
        value = json.loads(reply.body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _retry_after(reply: Reply) -> float:
    seconds = reply.headers.get("retry-after", "")
    return max(float(seconds), SOON_S) if seconds.isdecimal() else 1.0


def _other(family: str) -> str:
    return f"stop that server, or set another port in [{family}] of tsfm.ini"
