"""Faults under load: what happens to hosts, and what the clients of the others see of it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from typing import TypeVar

from tools.fleet.hosts import Fleet, Host
from tools.fleet.namespaces import Namespaces

T = TypeVar("T")
CLIENTS = 16
CALM_S = 3.0  # load before the fault, and after it
RESTART_S = 2.0  # RestartSec= of the unit
# Of the lab for requests that break a host. Standardised, a single spike stands at sqrt(n - 1).
HANGS_ABOVE, CRASHES_ABOVE = 9.0, 5.0
POISON_SETTINGS = "deadline_s = 4\nstall_s = 6"


def restart(host: Host, number: signal.Signals) -> None:
    """Send its service a signal, and start it again as the unit does."""
    host.signal(number)
    host.wait()
    time.sleep(RESTART_S)
    host.start()


def _killed(fleet: Namespaces) -> None:
    restart(fleet.hosts[0], signal.SIGKILL)


def _stopped(fleet: Namespaces) -> None:
    restart(fleet.hosts[0], signal.SIGTERM)


def _frozen(fleet: Namespaces) -> None:
    fleet.hosts[0].signal(signal.SIGSTOP)
    time.sleep(6)
    fleet.hosts[0].signal(signal.SIGCONT)


def _cut(fleet: Namespaces) -> None:
    fleet.plug(fleet.hosts[0], "down")
    time.sleep(8)
    fleet.plug(fleet.hosts[0], "up")


def _off(fleet: Namespaces) -> None:
    """Without power a host says nothing any more, not even that its connections end; then it boots."""
    fleet.plug(fleet.hosts[0], "down")
    fleet.hosts[0].signal(signal.SIGKILL)
    fleet.hosts[0].wait()
    time.sleep(6)
    fleet.plug(fleet.hosts[0], "up")
    fleet.hosts[0].start()


def _updated(fleet: Namespaces) -> None:
    for host in fleet.hosts:
        restart(host, signal.SIGTERM)
        fleet.until_ready(host.address)


def _reloaded(fleet: Namespaces) -> None:
    for _ in range(3):
        if fleet.proxy:
            fleet.proxy.reload()
        time.sleep(2)


FAULTS: dict[str, Callable[[Namespaces], None]] = {
    "service killed (kill -9)": _killed,
    "service stopped (SIGTERM)": _stopped,
    "service frozen for 6 s (SIGSTOP)": _frozen,
    "cable cut for 8 s": _cut,
    "host without power for 6 s": _off,
    "all hosts updated, one after the other": _updated,
    "balancer reloaded 3 times": _reloaded,
}


def _hangs(fleet: Fleet) -> tuple[int, int]:
    answer = poisoned(fleet, HANGS_ABOVE)
    (host,) = _until(lambda: [host for host in fleet.hosts if fleet.status(host.address) == 503])
    restart(host, signal.SIGKILL)  # as systemd's watchdog does
    return answer, 1


def _crashes(fleet: Fleet) -> tuple[int, int]:
    answer = poisoned(fleet, CRASHES_ABOVE)
    time.sleep(RESTART_S)
    dead = [host for host in fleet.hosts if not host.alive]
    for host in dead:
        host.start()
    return answer, len(dead)


def poisoned(fleet: Fleet, above: float) -> int:
    """The status of the answer to a request whose last value stands just above the number."""
    values = [0.0] * (int(above**2) + 1) + [1.0]
    return fleet.status("127.0.0.1", "/ds_predict", json.dumps({"input": values}))


def _until(found: Callable[[], list[Host]]) -> list[Host]:
    ends = time.monotonic() + 60
    while not (hosts := found()) and time.monotonic() < ends:
        time.sleep(0.1)
    return hosts


POISON: dict[str, Callable[[Fleet], tuple[int, int]]] = {
    "it hangs the model": _hangs,
    "it crashes the process": _crashes,
}


def run(fleet: Namespaces, name: str) -> dict[str, object]:
    """Have a fault under load, and wait until all hosts are ready again.

    Returns:
        What the clients saw: see ``tools.fleet.load``.
    """
    return under_load(fleet, lambda: FAULTS[name](fleet))[0]


def poison(fleet: Fleet, name: str) -> dict[str, object]:
    """The same for a request that breaks hosts, with the status of its answer and how many hosts it broke."""
    facts, (answer, hosts) = under_load(fleet, lambda: POISON[name](fleet))
    return {"answer": answer, "hosts": hosts} | facts


def under_load(fleet: Fleet, act: Callable[[], T]) -> tuple[dict[str, object], T]:
    """Do something under load, and go on until all of the fleet serves again; what the clients saw, and the result."""
    load = fleet.load(CLIENTS)
    try:
        time.sleep(CALM_S)
        result = act()
        fleet.until_whole()
        time.sleep(CALM_S)
        return load.end(), result
    finally:
        load.kill()
