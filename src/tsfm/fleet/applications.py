"""What the head tells Ray Serve: an application for each family, made from tsfm.ini."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tsfm import __version__, settings
from tsfm.fleet.balancer import fleet_prefix
from tsfm.fleet.cluster import Fleet
from tsfm.settings import Settings

# Settings of a host, which a replica has no use for; who may ask is the fleet's own matter.
OF_HOSTS = ("host", "port", "mirror", "register", "allow")
LOOPBACK = ("127.0.0.0/8", "::1/128")
CHECK_S = 2  # between the checks of a replica's health
ENDS_S = 5  # beyond the deadline, until a replica that is to end is killed


@dataclass(frozen=True)
class Node:
    """A host of the fleet, as Ray knows it.

    Attributes:
        state: "ALIVE", or that it is gone.
        families: those whose weights it has.
    """

    id: str
    address: str
    state: str
    cpus: float
    families: tuple[str, ...]
    is_head: bool


def resource(family: str) -> str:
    """The name of what a node has one of if it has the family's weights, and each replica of the family needs."""
    return f"tsfm_{family}"


def configuration(fleet: Fleet, nodes: Iterable[Node], release: str = __version__) -> dict[str, object]:
    """The fields of Serve's REST interface that deploy every family of which some node has the weights.

    Args:
        release: Serve compares these fields, and not the code: another release restarts the replicas, some at a time.
    """
    alive = [node for node in nodes if node.state == "ALIVE"]
    made = []
    for family, chosen in fleet.families.items():
        cpus = chosen.threads or fleet.replica_cpus
        if able := sum(family in node.families and node.cpus >= cpus for node in alive):
            made.append(_application(fleet, family, chosen, fleet.replicas or able, release))
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": fleet.port, "keep_alive_timeout_s": 120},  # noqa: S104
        "logging_config": {"log_level": "WARNING", "enable_access_log": False},
        "applications": made,
    }


def _application(fleet: Fleet, family: str, chosen: Settings, replicas: int, release: str) -> dict[str, object]:
    cpus = chosen.threads or fleet.replica_cpus
    # The resource already keeps two replicas of a family from one node: with a surge an update would never end.
    deployment = {
        "name": "Family",
        "num_replicas": replicas,
        "max_surge_percent": 0,
        "rolling_update_percentage": 0.34,
        "health_check_period_s": CHECK_S,
        "health_check_timeout_s": 3,
        "graceful_shutdown_wait_loop_s": 0.5,
        "graceful_shutdown_timeout_s": chosen.deadline_s + ENDS_S,
        "ray_actor_options": {"num_cpus": cpus, "resources": {resource(family): 1}},
    }
    return {
        "name": family,
        "route_prefix": fleet_prefix(family),
        "import_path": "tsfm.fleet.replica:build",
        "args": {"family": family, "release": release, "settings": _settings(fleet, family, cpus)},
        "deployments": [deployment],
    }


def _settings(fleet: Fleet, family: str, cpus: int) -> Mapping[str, str]:
    """What the head's tsfm.ini says of the family; it goes before the tsfm.ini of a node."""
    texts = settings.texts(family, fleet.file)
    given = {key: value for key, value in texts.items() if key not in OF_HOSTS}
    return given | {"threads": str(cpus), "allow": " ".join([*LOOPBACK, *map(str, fleet.network)])}
