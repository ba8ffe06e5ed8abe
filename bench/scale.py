"""Cost as the work grows: many series in requests of ``/v1/forecast``, many clients, many services on one host.

A cost is CPU time of a service and of the process that reads its large bodies, which other work on the machine changes
less than time by the clock. Memory is the proportional share (PSS): pages of the weights' file that several services
map count once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench import api, common
from bench.load import Generator, post

SERIES, CLIENTS, SERVICES = (10, 100, 1_000, 10_000), (1, 4, 16, 64), (1, 2, 4, 8)
LARGEST = 1_000  # series of one request: the default of max_series
LEAST = 200  # series for each number of them: fewer are asked for again, as CPU time is counted in ticks of 10 ms
CLIENTS_EACH = 4  # of each service, where several run
SECONDS = 5.0
FAMILY, SIZE = "chronos", "bolt-tiny"


def run(
    series: Sequence[int] = SERIES,
    clients: Sequence[int] = CLIENTS,
    services: Sequence[int] = SERVICES,
    seconds: float = SECONDS,
    size: str = SIZE,
    largest: int = LARGEST,
) -> dict[str, float]:
    """All three, each from the smallest to the largest number.

    Args:
        seconds: for each number of clients and of services.
        largest: series of one request; more go in several, one after the other.
    """
    with closing(Generator()) as load, ExitStack() as running:
        ports = {port: pid for pid, port in (_start(running, size) for _ in range(services[0]))}
        first = next(iter(ports))
        found = _many_series(first, ports[first], series, largest)
        found |= _many_clients(load, first, ports[first], clients, seconds)
        for count in services:
            ports |= {port: pid for pid, port in (_start(running, size) for _ in range(count - len(ports)))}
            found |= _many_services(load, ports, seconds)
    for part, counts in (("series", series), ("clients", clients), ("services", services)):
        costs = [found[f"scale_{part}_{count}_cpu_ms"] for count in counts]
        found[f"scale_growth_{part}"] = max(after / before for before, after in pairwise(costs))
    return found


def _start(running: ExitStack, size: str) -> tuple[int, int]:
    folder = common.checkpoint(FAMILY, size)
    process, port = common.serve(FAMILY, "--model-folder", str(folder), "--threads", str(common.THREADS))
    running.callback(process.wait, 60)
    running.callback(process.terminate)
    common.until_ready(process, port)
    api.timed(port, api.many(64))  # the process that reads large bodies starts with the first one
    return process.pid, port


def _many_series(port: int, pid: int, counts: Sequence[int], largest: int) -> dict[str, float]:
    found = {"scale_request_kb_each": len(api.many(100)) / 100 / 1000}
    for count in counts:
        bodies = [api.many(min(largest, count - at)) for at in range(0, count, largest)]
        times = -(-LEAST // count)
        before = _cpu_s(pid)
        seconds = sum(api.timed(port, body) for _ in range(times) for body in bodies)
        found |= {
            f"scale_series_{count}_ms": seconds / (times * count) * 1000,
            f"scale_series_{count}_cpu_ms": (_cpu_s(pid) - before) / (times * count) * 1000,
            f"scale_series_{count}_mib": _mib(pid),
        }
    return found


def _many_clients(load: Generator, port: int, pid: int, counts: Sequence[int], seconds: float) -> dict[str, float]:
    found = {}
    for count in counts:
        before = _cpu_s(pid)
        busy = load.run(port, count, seconds, _single_requests())
        answered = len(busy["latencies_s"])
        found |= {
            f"scale_clients_{count}_series_per_s": busy["rate_to_the_last"],
            f"scale_clients_{count}_ms_p99": float(np.quantile(busy["latencies_s"], 0.99)) * 1000,
            f"scale_clients_{count}_cpu_ms": (_cpu_s(pid) - before) / answered * 1000,
            f"scale_clients_{count}_mib": _mib(pid),
        }
    return found


def _many_services(load: Generator, services: dict[int, int], seconds: float) -> dict[str, float]:
    """All of ``services``, process by port, at once."""
    count, pids = len(services), list(services.values())
    before = sum(map(_cpu_s, pids))
    busy = load.run(list(services), CLIENTS_EACH * count, seconds, _single_requests())
    cpu_ms = (sum(map(_cpu_s, pids)) - before) / len(busy["latencies_s"]) * 1000
    return {
        f"scale_services_{count}_series_per_s": busy["rate_to_the_last"],
        f"scale_services_{count}_cpu_ms": cpu_ms,
        f"scale_services_{count}_mib_each": sum(map(_mib, pids)) / count,
    }


def _single_requests() -> list[bytes]:
    parameters = {"prediction_length": common.HORIZON, "quantile_levels": [0.1, 0.9]}
    return [
        post("/v1/forecast", {"inputs": [{"target": wave.tolist()}], "parameters": parameters})
        for wave in common.waves([common.CONTEXT] * 64)
    ]


def _tree(pid: int) -> list[int]:
    """The process and those that it has started."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except FileNotFoundError:
            continue  # it has ended
    return [pid, *(child for child, parent in parents.items() if parent == pid)]


def _cpu_s(pid: int) -> float:
    """CPU seconds of the process and of those that it has started, also of those that have ended."""
    stats = [Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in _tree(pid)]
    return sum(int(ticks) for fields in stats for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def _mib(pid: int) -> float:
    texts = [Path(f"/proc/{one}/smaps_rollup").read_text() for one in _tree(pid)]
    return sum(int(kib) for text in texts for kib in re.findall(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)) / 1024
