"""Three hosts compared with one, behind the balancer and as a fleet, where each host does 80 series a second.

The model waits instead of computing: with one machine's CPUs, what is to be shown is the way to the hosts, not these.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from tools.fleet.hosts import Fleet, free_port
from tools.fleet.ray import ENVIRONMENT
from tools.fleet.ray_hosts import RayFleet

HOSTS, SECONDS = 3, 10.0
# Eight series of so many points are a batch, and every host always has more than one batch to do.
DELAY_S, POINTS, CLIENTS = 0.1, 2048, 64


def run(seconds: float = SECONDS) -> dict[str, float]:
    """Series/s of three hosts over those of one; the fleet's hosts are network namespaces, which need root."""
    found = {f"balancer_scaling_{HOSTS}": balancer(HOSTS, seconds) / balancer(1, seconds)}
    if os.geteuid() == 0 and ENVIRONMENT.is_dir():
        found[f"fleet_scaling_{HOSTS}"] = fleet(seconds)
    return found


def balancer(hosts: int, seconds: float) -> float:
    """Series/s of so many hosts at loopback addresses."""
    addresses = [f"127.0.0.{2 + number}" for number in range(hosts)]
    with tempfile.TemporaryDirectory() as name, Fleet(Path(name), free_port(), addresses, delay_s=DELAY_S) as made:
        return _rate(made, seconds)


def fleet(seconds: float) -> float:
    """Three nodes with a replica each over one of them."""
    with tempfile.TemporaryDirectory() as name, RayFleet(Path(name), HOSTS, delay_s=DELAY_S) as made:
        rates = []
        for replicas in (1, HOSTS):
            made.apply(f"replicas = {replicas}")
            rates.append(_rate(made, seconds))
    return rates[1] / rates[0]


def _rate(made: Fleet, seconds: float) -> float:
    """Series/s of all clients.

    Raises:
        RuntimeError: some got no answer, or a wrong one.
    """
    load, began = made.load(CLIENTS, POINTS), time.perf_counter()
    try:
        time.sleep(seconds)
        facts = load.end()
    finally:
        load.kill()
    if facts["lost"] or facts["crossed"]:
        raise RuntimeError(f"expected right answers, got {facts}")
    return int(str(facts["requests"])) / (time.perf_counter() - began)
