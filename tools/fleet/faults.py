"""Faults under load: what happens to one of two hosts, and what the clients see of it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable

from tools.fleet.hosts import Fleet, Host

CLIENTS, SECONDS = 16, 14.0
CALM_S = 2.0  # load before the fault
RESTART_S = 2.0  # RestartSec= of the unit


def _killed(fleet: Fleet, host: Host) -> None:
    host.signal(signal.SIGKILL)
    host.wait()
    time.sleep(RESTART_S)
    host.start()


def _stopped(fleet: Fleet, host: Host) -> None:
    host.signal(signal.SIGTERM)
    host.wait()
    time.sleep(RESTART_S)
    host.start()


def _frozen(fleet: Fleet, host: Host) -> None:
    host.signal(signal.SIGSTOP)
    time.sleep(6)
    host.signal(signal.SIGCONT)


def _cut(fleet: Fleet, host: Host) -> None:
    fleet.plug(host, "down")
    time.sleep(8)
    fleet.plug(host, "up")


def _reloaded(fleet: Fleet, host: Host) -> None:
    for _ in range(3):
        if fleet.proxy:
            fleet.proxy.reload()
        time.sleep(2)


FAULTS: dict[str, Callable[[Fleet, Host], None]] = {
    "service killed (kill -9)": _killed,
    "service stopped (SIGTERM)": _stopped,
    "service frozen for 6 s (SIGSTOP)": _frozen,
    "cable cut for 8 s": _cut,
    "balancer reloaded 3 times": _reloaded,
}


def run(fleet: Fleet, name: str) -> dict[str, object]:
    """Have a fault of the first host under load, and wait until both hosts are ready again.

    Returns:
        What the clients saw: see ``tools.fleet.load``.
    """
    load = fleet.load(SECONDS, CLIENTS)
    try:
        time.sleep(CALM_S)
        FAULTS[name](fleet, fleet.hosts[0])
        output, _ = load.communicate(timeout=120)
    finally:
        if load.poll() is None:
            load.kill()
            load.wait()
    for host in fleet.hosts:
        fleet.until_ready(host.address)
    facts: dict[str, object] = json.loads(output)
    return facts
