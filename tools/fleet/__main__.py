"""``python -m tools.fleet``: a fleet on this machine; forecast through it, break a part of it, count what was lost."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tools.fleet import ray_faults
from tools.fleet.faults import CLIENTS, restart, under_load
from tools.fleet.hosts import Fleet, free_port
from tools.fleet.ray import ENVIRONMENT
from tools.fleet.ray_hosts import RayFleet

from tsfm.system.loopback import exchange

ADDRESSES = ("127.0.0.2", "127.0.0.3")
NODES, FAULT = 2, "replica killed (kill -9)"


def balancer() -> bool:
    """Two hosts behind the balancer, one of which is killed under load; False: requests were lost."""
    with tempfile.TemporaryDirectory() as name, Fleet(Path(name), free_port(), ADDRESSES) as fleet:
        print(f"balancer   {fleet.url} before {len(ADDRESSES)} hosts that serve naive: {', '.join(ADDRESSES)}")
        asked = {"input": [3, 4, 2, 5, 4, 6, 5.5, 7, 6, 8, 7.5, 9], "next_len": 3}
        reply = exchange(f"{fleet.url}/ds_predict", json.dumps(asked).encode())
        steps = json.loads(reply.body)["output"]
        print(f"forecast   {', '.join(f'{step:.3f}' for step in steps)}")
        seen, _ = under_load(fleet, lambda: restart(fleet.hosts[0], signal.SIGKILL))
    return _told(f"kill -9    of {ADDRESSES[0]}, and started again", seen)


def fleet() -> bool:
    """A small fleet of Ray, one of whose replicas is killed under load; False: requests were lost."""
    if os.geteuid() or not ENVIRONMENT.is_dir():
        print("fleet      not shown: its hosts are network namespaces, which need root, and Ray: make build/fleet")
        return True
    with tempfile.TemporaryDirectory() as name, RayFleet(Path(name), NODES) as made:
        print(f"fleet      a head and {NODES} nodes on Ray, behind the same balancer")
        seen = ray_faults.run(made, FAULT)
    return _told(FAULT, seen)


def _told(what: str, seen: dict[str, object]) -> bool:
    print(f"{what}, under {CLIENTS} clients")
    print(
        f"seen       {seen['requests']} requests, {seen['lost']} lost, {seen['crossed']} with the answer to another "
        f"one; the slowest took {seen['slowest_ms']} ms"
    )
    if seen["words"]:
        print(f"said       {seen['words']}")
    return not (seen["lost"] or seen["crossed"])


PARTS: tuple[Callable[[], bool], ...] = (balancer, fleet)


def main() -> int:
    return 0 if all([part() for part in PARTS]) else 1


if __name__ == "__main__":
    sys.exit(main())
