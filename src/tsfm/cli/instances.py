"""What runs here, and on the hosts behind the balancer: each family's service, by its unit, port and metrics."""

from __future__ import annotations

import math
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from tsfm import card as cards
from tsfm import paths, settings
from tsfm.card import Card
from tsfm.cli import client, metrics
from tsfm.cli.metrics import Samples
from tsfm.doctor import families, units
from tsfm.doctor.units import Unit
from tsfm.errors import TsfmError
from tsfm.fleet import balancer
from tsfm.system import ports
from tsfm.system.loopback import Unreachable

LOOK_S = 2.0  # a service answers a GET at once, however busy its model is
SAMPLE_S = 1.0  # between the two looks at the number of requests


@dataclass(frozen=True)
class Instance:
    """One service; None where something is not known.

    Attributes:
        host: behind the balancer; None: this host.
        state: ready, not ready, no answer, refused, or, if nothing listens, its unit's state (stopped, failed, ...).
        detail: why it is not ready.
        queue: requests that wait for the model.
        memory_mib: resident memory of its process.
        restarts: by systemd, since the unit was started.
        requests_per_s: during the last second.
        p99_s: 99 % of all requests since its start were answered within this time: a bound of the histogram.
    """

    family: str
    state: str
    port: int
    detail: str = ""
    pid: int | None = None
    queue: int | None = None
    memory_mib: int | None = None
    restarts: int | None = None
    requests_per_s: float | None = None
    p99_s: float | None = None
    host: str | None = None


def look() -> list[Instance]:
    """Every family that is installed here or answers on its port, and each on every host behind the balancer.

    All of them are asked at the same time.

    Raises:
        ConfigError: tsfm.ini is wrong.
    """
    known = [cards.read(name) for name in cards.names(packaged_only=True)]
    chosen = {card.name: settings.read(card.name, {}) for card in known}
    states = units.show([families.unit_name(card.name) for card in known]) or {}

    balanced = balancer.read()
    # A node of a fleet answers for all of them: `tsfm fleet status` knows more.
    hosts = balanced.hosts if balanced and not balanced.fleet_port else ()
    others = [(cards.read(name), host) for name in balanced.families for host in hosts] if balanced else []
    # A host that serves and balances is one of its own hosts.
    others = [(card, host) for card, host in others if host != settings.read(card.name, {}).host]

    def one(card: Card) -> Instance | None:
        return _instance(card, chosen[card.name], states.get(families.unit_name(card.name)))

    with ThreadPoolExecutor(len(known) + len(others)) as pool:
        behind = [pool.submit(_behind, card, host) for card, host in others]
        here = [found for found in pool.map(one, known) if found]
        return here + [future.result() for future in behind]


def _behind(card: Card, host: str) -> Instance:
    """A family's service on another host."""
    chosen = settings.read(card.name, {})
    empty = Instance(card.name, "", chosen.port or card.port, host=host)
    try:
        return _probed(empty, client.target(card, chosen, host))
    except TsfmError as error:
        return replace(empty, state="no answer", detail=str(error))


def _instance(card: Card, chosen: settings.Settings, unit: Unit | None) -> Instance | None:
    empty = Instance(card.name, "", chosen.port or card.port)
    try:
        found = _probed(empty, client.target(card, chosen))
    except Unreachable:
        if not paths.is_there(card.name) and not (unit and unit.active not in ("", "inactive")):
            return None
        found = _silent(empty, unit)
    pid = unit.pid if unit and unit.pid else None if found.state == "stopped" else _pid(empty.port)
    restarts = unit.restarts if unit and unit.active != "inactive" else None
    return replace(found, pid=pid, memory_mib=_memory_mib(pid) if pid else None, restarts=restarts)


def _probed(empty: Instance, service: client.Target) -> Instance:
    """What the service itself says.

    Raises:
        Unreachable: nothing listens there.
    """
    try:
        ready = service.get("/readyz", LOOK_S)
        first = service.get("/metrics", LOOK_S)
        if first.status != 200:
            return replace(empty, state="refused", detail=client.sentence(first))
        time.sleep(SAMPLE_S)
        second = metrics.read(service.get("/metrics", LOOK_S).body.decode(errors="replace"))
    except Unreachable:
        raise
    except TsfmError as error:
        return replace(empty, state="no answer", detail=str(error))
    state = (
        replace(empty, state="ready")
        if ready.status == 200
        else replace(empty, state="not ready", detail=client.sentence(ready))
    )
    return _measured(state, metrics.read(first.body.decode(errors="replace")), second)


def _measured(found: Instance, first: Samples, second: Samples) -> Instance:
    requests = [metrics.total(samples, "tsfm_requests_total") for samples in (first, second)]
    p99 = metrics.quantile(second, "tsfm_request_seconds", 0.99)
    return replace(
        found,
        queue=int(metrics.total(second, "tsfm_queue_length")),
        requests_per_s=max(requests[1] - requests[0], 0) / SAMPLE_S,
        p99_s=p99 if p99 is None or math.isfinite(p99) else None,
    )


def _silent(empty: Instance, unit: Unit | None) -> Instance:
    """Nothing listens: the unit says why."""
    if unit is None or unit.active in ("", "inactive"):
        return replace(empty, state="stopped")
    return replace(empty, state=unit.active, detail=unit.status or (unit.result if unit.active == "failed" else ""))


def _pid(port: int) -> int | None:
    found = re.match(r"pid (\d+) ", ports.holder(port) or "")
    return int(found[1]) if found else None


def peak_mib(service: client.Target) -> int | None:
    """The most memory that a service of this host has had since its start; None: its process is not shown to us."""
    pid = _pid(urlsplit(service.base).port or 0)
    if pid is None:  # the process of another user; systemd names it to everybody
        name = families.unit_name(service.card.name)
        unit = (units.show([name]) or {}).get(name)
        pid = unit.pid if unit else None
    return _memory_mib(pid, "VmHWM") if pid else None


def _memory_mib(pid: int, what: str = "VmRSS") -> int | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None  # it has ended, or /proc does not show it to this user
    found = re.search(rf"^{what}:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) // 1024 if found else None
