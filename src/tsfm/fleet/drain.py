"""Moves the replicas away from a host of the fleet, so that it can be stopped."""

from __future__ import annotations

import os
import time

from tsfm import paths
from tsfm.errors import TsfmError, UsageError
from tsfm.fleet import head, ray_node
from tsfm.fleet.applications import ENDS_S
from tsfm.fleet.cluster import NODE_UNIT, Fleet
from tsfm.system.subprocesses import Deadline, run

COMMAND_S = 60.0
LOOK_S = 1.0  # between two looks at the replicas; Serve tells nobody when one has gone
# Beyond the longest time that a replica may take for its last requests: so long Serve tries to start others elsewhere,
# before it ends those on the host without.
ELSEWHERE_S = 25


def drain(fleet: Fleet, address: str) -> str:
    """Have Ray start no more replicas on the host and end those that are there, each after its last request.

    Returns:
        A sentence that says what is left to do.

    Raises:
        UsageError: no such host.
        TsfmError: Ray refuses it, or replicas are still there at the end of the time for it.
    """
    alive = {node.address: node for node in head.nodes(fleet) if node.state == "ALIVE" and not node.is_head}
    if address not in alive:
        raise UsageError(f"fleet drain: expected one of {', '.join(sorted(alive)) or 'no nodes'}, got {address!r}")
    patience_s = fleet.deadline_s + ENDS_S + ELSEWHERE_S
    words = [str(paths.FLEET / "bin/python"), "-m", "ray.scripts.scripts", "drain-node"]
    words += ["--address", f"{fleet.head}:{ray_node.HEAD_PORT}", "--node-id", alive[address].id]
    words += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "tsfm fleet drain"]
    words += ["--deadline-remaining-seconds", str(patience_s)]
    code, output = run(words, Deadline.after(COMMAND_S), env=os.environ | ray_node.environment(fleet))
    if code:
        raise TsfmError(f"Ray does not drain {address}: {' '.join(output.split())[-300:]}")
    left = Deadline.after(patience_s + COMMAND_S)
    while there := [one.family for one in head.applications(fleet) if address in (place for place, _ in one.replicas)]:
        if left.passed:
            raise TsfmError(f"{address} still has replicas of {', '.join(there)} after {patience_s + COMMAND_S:g} s")
        time.sleep(LOOK_S)
    return f"{address} has no replica; there, run tsfm fleet leave, or to bring it back: systemctl restart {NODE_UNIT}"
