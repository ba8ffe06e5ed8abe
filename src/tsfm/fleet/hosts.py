"""What the hosts behind the balancer say of themselves."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tsfm import card
from tsfm.card import Card
from tsfm.errors import TsfmError
from tsfm.fleet.balancer import Balancer
from tsfm.settings import authority
from tsfm.system.loopback import Reply, exchange

LOOK_S = 2.0  # a service answers a GET at once, however busy its model is


@dataclass(frozen=True)
class HostState:
    """One family on one host.

    Attributes:
        trouble: why the balancer cannot use it; empty: it is ready.
        serves: version and checkpoint; empty: it does not tell.
    """

    family: str
    host: str
    port: int
    trouble: str = ""
    serves: str = ""


def look(balancer: Balancer) -> list[HostState]:
    """Ask every host for every family, all at the same time."""
    pairs = [(card.read(name), host) for name in balancer.families for host in balancer.hosts]
    with ThreadPoolExecutor(len(pairs)) as pool:
        return list(
            pool.map(lambda one: _look(one[0], one[1], balancer.host_port(one[0]), balancer.prefix(one[0])), pairs)
        )


def _look(family: Card, host: str, port: int, prefix: str) -> HostState:
    base = f"http://{authority(host, port)}{prefix}"
    try:
        ready, models = (exchange(base + path, timeout_s=LOOK_S) for path in ("/readyz", "/v1/models"))
    except TsfmError as error:
        return HostState(family.name, host, port, str(error))
    trouble = "" if ready.status == 200 else f"{base} is not ready: {_field(ready, 'error') or ready.status}"
    found = _field(models, "models")
    facts = found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else {}
    if facts.get("family", family.name) != family.name:
        return HostState(family.name, host, port, f"{base} serves {facts['family']}, not {family.name}")
    serves = f"{facts['checkpoint']} of version {facts['version']}" if {"checkpoint", "version"} <= set(facts) else ""
    return HostState(family.name, host, port, trouble, serves)


def _field(reply: Reply, name: str) -> object:
    """A field of the JSON object in an answer; None if there is none."""
    try:
        value = json.loads(reply.body)
    except (ValueError, RecursionError):
        return None
    return value.get(name) if isinstance(value, dict) else None
