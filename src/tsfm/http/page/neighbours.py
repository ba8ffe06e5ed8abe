"""The other models of this host, asked on behalf of the page: a browser lets a page ask its own port only.

A request is passed on only to a family of this host, at the address that the settings give, and only for a client that
this family would answer itself: its ``allow`` holds, a family that listens on loopback is for clients on loopback, and
the client's own token is sent along. See docs/decisions/0012-neighbours.md.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import orjson

from tsfm import card, settings
from tsfm.card import Card
from tsfm.engine.admission import Slot
from tsfm.engine.pending import Pending
from tsfm.errors import BadRequest, ConfigError, Forbidden, NotReady
from tsfm.http import auth
from tsfm.http.page.query import Query, single
from tsfm.http.reading import Body
from tsfm.settings import Settings, authority
from tsfm.system.loopback import Broken, Reply, Unreachable, exchange

LOOK_S = 1.0  # a service answers a GET at once, however busy its model is
TASKS = ("forecast", "cross_validation", "imputation", "anomaly_detection")
RESIDENT = re.compile(rb"^tsfm_process_resident_memory_bytes (\S+)$", re.MULTILINE)
MOST_AT_ONCE = 4
LARGEST_ANSWER = 32 << 20  # it is held in this service's memory; the page asks for one series at a time
ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared with, never bound
Fields = dict[str, object]


@dataclass(frozen=True)
class Client:
    """Who asks: the address, and the header Authorization."""

    address: str
    authorization: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": self.authorization} if self.authorization else {}


@dataclass(frozen=True)
class Neighbour:
    """A family of this host, at the address of its settings."""

    card: Card
    settings: Settings

    @property
    def port(self) -> int:
        return self.settings.port or self.card.port

    @property
    def base(self) -> str:
        return f"http://{authority(ANY_HOST.get(self.settings.host, self.settings.host), self.port)}"

    def answers(self, client: str) -> bool:
        """The family's own rules let this address ask it."""
        open_to_others = not ipaddress.ip_address(self.settings.host).is_loopback
        return (open_to_others or auth.plain(client).is_loopback) and auth.allows(self.settings.allow or (), client)


class Neighbours:
    """Asks the other families of this host, on threads of its own.

    Args:
        family: the served family, which is no neighbour of its own.
        find: the neighbours that the settings name.
    """

    def __init__(self, family: str, find: Callable[[str], list[Neighbour]] | None = None) -> None:
        self._family, self._find = family, find or configured
        self._looks = ThreadPoolExecutor(len(card.names()), "neighbours")
        self._lists = ThreadPoolExecutor(1, "neighbours-list")
        self._forwards = ThreadPoolExecutor(MOST_AT_ONCE, "neighbours-ask")

    def list(self, client: Client) -> Pending[list[Fields]]:
        """The entry in /v1/models of each neighbour that runs and would answer this client, its port and its memory.

        The entry of one that wants another token has the state "token".
        """

        def look_at_all() -> list[Fields | None]:
            able = [one for one in self._find(self._family) if one.answers(client.address)]
            looks = [self._looks.submit(_look, one, client) for one in able]
            return [look.result() for look in looks]

        return Pending(self._lists.submit(look_at_all), lambda entries: [entry for entry in entries if entry])

    def forward(self, query: Query, body: Body, client: Client, slot: Slot) -> Pending[Reply]:
        """A neighbour's answer to a request.

        Raises:
            BadRequest: the query names no task. ``get`` raises it if it names no family.
            Forbidden: by ``get``: this client may not ask that family.
        """
        given = single(query, ("family", "task"))
        family, task = given.get("family", ""), given.get("task", "")
        if task not in TASKS:
            raise BadRequest(f"task: expected one of {', '.join(TASKS)}, got {task[:40]!r}")

        def answer() -> Reply:
            found = {one.card.name: one for one in self._find(self._family)}
            if family not in found:
                raise BadRequest(f"family: expected one of {', '.join(found)}, got {family[:40]!r}")
            if not found[family].answers(client.address):
                raise Forbidden(f"{family} answers other addresses only: see host and allow in tsfm.ini")
            return _pass_on(found[family], f"/v1/{task}", body, client)

        return Pending(slot.watch(self._forwards.submit(answer)), lambda reply: reply)

    def close(self) -> None:
        """Take no more requests."""
        for pool in (self._lists, self._looks, self._forwards):
            pool.shutdown(wait=False, cancel_futures=True)


def configured(family: str) -> list[Neighbour]:
    """The other packaged families with the addresses in tsfm.ini; those with a wrong setting are left out."""
    found = []
    for name in card.names(packaged_only=True):
        if name != family:
            try:
                found.append(Neighbour(card.read(name), settings.read(name, {})))
            except ConfigError:  # its own service says so
                continue
    return found


def _look(one: Neighbour, client: Client) -> Fields | None:
    try:
        reply = exchange(f"{one.base}/v1/models", headers=client.headers, timeout_s=LOOK_S)
    except (Unreachable, Broken):
        return None
    if reply.status == 401:
        return {"family": one.card.name, "task": one.card.task, "state": "token", "port": one.port}
    entry = _entry(reply, one.card.name)
    return entry and entry | {"port": one.port} | _resident(one, client)


def _resident(one: Neighbour, client: Client) -> Fields:
    """The memory of the neighbour's process, if it tells."""
    try:
        match = RESIDENT.search(exchange(f"{one.base}/metrics", headers=client.headers, timeout_s=LOOK_S).body)
    except (Unreachable, Broken):
        return {}
    return {"resident_mib": int(float(match[1])) >> 20} if match else {}


def _entry(reply: Reply, family: str) -> Fields | None:
    """The entry of that family in an answer of /v1/models; None: another server answers there."""
    try:
        models = orjson.loads(reply.body)["models"]
        return next((model for model in models if model["family"] == family), None)
    except (ValueError, KeyError, TypeError):
        return None


def _pass_on(one: Neighbour, path: str, body: Body, client: Client) -> Reply:
    headers = {"Content-Type": "application/json", "Content-Encoding": body.packed or "identity"} | client.headers
    try:
        return exchange(one.base + path, bytes(body.data), headers, float(one.settings.deadline_s), LARGEST_ANSWER)
    except (Unreachable, Broken) as error:
        raise NotReady(f"{one.card.name}: {error}") from None
