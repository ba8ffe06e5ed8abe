"""What the head of a fleet is asked: Ray's REST interface, on its loopback address."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tsfm.errors import TryLater, TsfmError
from tsfm.fleet.applications import Node, resource
from tsfm.fleet.cluster import HEAD_UNIT, Fleet
from tsfm.fleet.ray_node import DASHBOARD_PORT
from tsfm.system.loopback import Broken, Reply, Unreachable, exchange

BASE = f"http://127.0.0.1:{DASHBOARD_PORT}"
ASKED_S = 30.0  # the first answer after a start takes some seconds
SERVE = "/api/serve/applications/"


@dataclass(frozen=True)
class Application:
    """A family in the fleet.

    Attributes:
        status: Serve's word, such as RUNNING, DEPLOYING, UNHEALTHY.
        message: why it is not as it should be; may be empty.
        replicas: (address of the node, state) of each.
        wanted: how many replicas there are to be.
    """

    family: str
    status: str
    message: str
    replicas: tuple[tuple[str, str], ...]
    wanted: int
    release: str

    @property
    def running(self) -> list[str]:
        """Addresses of the nodes with a replica that takes requests."""
        return [address for address, state in self.replicas if state == "RUNNING"]

    @property
    def is_complete(self) -> bool:
        return self.status == "RUNNING" and len(self.running) == self.wanted


def nodes(fleet: Fleet) -> list[Node]:
    """The hosts of the fleet that Ray knows, each once, those that have gone last.

    Raises:
        TryLater: the head does not answer yet.
        TsfmError
    """
    fields = json.loads(_ask(fleet, "/api/v0/nodes?detail=true&limit=1000").body)
    rows = fields["data"]["result"]["result"]
    # A host that has joined again is a new node.
    last = {one.address: one for one in sorted(map(_node, rows), key=lambda one: one.state == "ALIVE")}
    return sorted(last.values(), key=lambda one: (one.state != "ALIVE", one.address))


def _node(row: dict[str, Any]) -> Node:
    there = row["resources_total"]
    prefix = resource("")
    families = tuple(sorted(name.removeprefix(prefix) for name in there if name.startswith(prefix)))
    return Node(row["node_id"], row["node_ip"], row["state"], there.get("CPU", 0), families, bool(row["is_head_node"]))


def applications(fleet: Fleet) -> list[Application]:
    """The families that are deployed, by name.

    Raises:
        TryLater: the head does not answer yet.
        TsfmError
    """
    found = json.loads(_ask(fleet, SERVE).body).get("applications", {})
    return [_application(name, found[name]) for name in sorted(found)]


def _application(name: str, fields: dict[str, Any]) -> Application:
    parts = list(fields.get("deployments", {}).values())
    replicas = [(one.get("node_ip") or "", one["state"]) for part in parts for one in part.get("replicas", [])]
    messages = [fields.get("message", ""), *(part.get("message", "") for part in parts)]
    deployed = fields.get("deployed_app_config") or {}
    return Application(
        name,
        str(fields["status"]),
        " ".join(next((text for text in messages if text), "").split()),
        tuple(sorted(replicas)),
        sum(int(part.get("target_num_replicas") or 0) for part in parts),
        str(deployed.get("args", {}).get("release", "")),
    )


def deploy(fleet: Fleet, configuration: dict[str, object]) -> None:
    """Have Serve take up a configuration; it works on after this has returned.

    Raises:
        TryLater: the head does not answer yet.
        TsfmError: Serve refuses it.
    """
    _ask(fleet, SERVE, json.dumps(configuration).encode())


def _ask(fleet: Fleet, path: str, body: bytes | None = None) -> Reply:
    headers = {"Authorization": f"Bearer {fleet.token()}", "Content-Type": "application/json"}
    try:
        reply = exchange(BASE + path, body, headers, ASKED_S, method="PUT" if body else None)
    except (Unreachable, Broken) as error:
        raise TryLater(
            f"the head of the fleet does not answer: {error}; on {fleet.head}, see: systemctl status {HEAD_UNIT}"
        ) from None
    if reply.status != 200:
        words = " ".join(reply.body.decode(errors="replace").split())[-300:]  # the end of a traceback says what it is
        raise TsfmError(f"the head of the fleet says {reply.status} to {path}: {words}")
    return reply
