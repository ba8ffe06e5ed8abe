"""A fleet's cost: requests by the entry of a node, through Ray's haproxy, compared with those to a single host."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from statistics import median

from tools.fleet import ray
from tools.fleet.ray import ENVIRONMENT, RayHost

from bench import common, server
from bench.load import Generator, post

CLIENTS = 32
ADDRESS, ENTRY = "127.0.0.2", 8000
LINES = f"threads = {common.THREADS}\n"
SETTINGS = """\
[fracast]
{lines}
[chronos]
{lines}
model_folder = {chronos}
[fleet]
head = {address}
address = {address}
network = 127.0.0.0/8
cpus = {cpus}
families = fracast chronos
token_file = FOLDER/token
"""
FAMILIES = {"fracast": "fracast", "chronos": "bolt_tiny"}


def run(rounds: int, seconds: float, size: str) -> dict[str, float]:
    """Measure each way in turns, so that other load on the machine affects both alike.

    Args:
        size: of the chronos checkpoint.
    """
    if not ENVIRONMENT.is_dir():
        raise SystemExit("Ray is not here: make build/fleet")
    folder = common.checkpoint("chronos", size)
    given = {"lines": LINES, "chronos": folder, "address": ADDRESS, "cpus": 2 * common.THREADS}
    held, load, host = ray.lock(), Generator(), RayHost(SETTINGS.format(**given))
    singles: dict[str, tuple[subprocess.Popen, int]] = {}
    try:
        host.start()
        host.apply(len(FAMILIES))
        for family in FAMILIES:
            options = ["--model-folder", str(folder)] if family == "chronos" else []
            singles[family] = common.serve(family, *options, "--threads", str(common.THREADS))
            common.until_ready(*singles[family])
        host.until_complete()
        ports = {family: port for family, (_, port) in singles.items()}
        measured = [_round(ports, load, seconds, turn % 2 == 1) for turn in range(rounds)]
        memory_mib = sum(map(_memory_kib, set(host.pids()) - set(host.pids("ray::ServeReplica")))) / 1024
    finally:
        for process, _ in singles.values():
            process.terminate()
            process.wait(60)
        load.close()
        host.remove()
        held.close()
    found = {key: median(one[key] for one in measured) for key in measured[0]}
    return found | {"fleet_memory_mib": memory_mib}


def _round(ports: dict[str, int], load: Generator, seconds: float, turned: bool) -> dict[str, float]:
    """Both ways for each family; what runs second may find a warmer machine."""
    found: dict[str, float] = {}
    for family, name in FAMILIES.items():
        ways = [("single", "127.0.0.1", ports[family], ""), ("fleet", ADDRESS, ENTRY, f"/{family}")]
        busy, alone = {}, {}
        for way, address, port, prefix in reversed(ways) if turned else ways:
            flat = [post(f"{prefix}/ds_predict", {"input": [7.5] * common.CONTEXT, "next_len": common.HORIZON})]
            # A constant series needs no model: what it takes is the way there and back.
            alone[way] = load.run(port, 1, seconds / 3, flat, address=address)
            waves = _below(prefix, server.requests([common.CONTEXT] * 64))
            busy[way] = load.run(port, CLIENTS, seconds, waves, address=address)
        found[f"fleet_efficiency_c32_{name}"] = busy["fleet"]["rate_to_the_last"] / busy["single"]["rate_to_the_last"]
        overhead_s = median(alone["fleet"]["latencies_s"]) - median(alone["single"]["latencies_s"])
        found.setdefault("fleet_overhead_ms", 1000 * overhead_s)
    return found


def _below(prefix: str, requests: Sequence[bytes]) -> list[bytes]:
    return [request.replace(b" /", f" {prefix}/".encode(), 1) for request in requests]


def _memory_kib(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("Pss:")), 0)
    except OSError:
        return 0  # it has ended
