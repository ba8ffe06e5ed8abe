"""The cost of more than one host: requests through the balancer, and to a fleet, compared with those to one service."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tools.fleet.proxy import Proxy

from bench import common, ray, server
from bench.host import Host
from bench.load import Generator, post

CLIENTS = 32
ROUNDS, SECONDS = 21, 1.0  # short turns: other load lasts longer than one, so that it is in both ways' turns
BALANCER = "127.0.0.2"
WAYS = ("127.0.0.1", BALANCER)
PROBE_S, SOON_S = 0.05, 0.1  # TDgpt's probe waits for SOON_S


def run(rounds: int = ROUNDS, seconds: float = SECONDS, size: str = "bolt-tiny") -> dict[str, float]:
    # 32 clients of fracast wait up to a second for their first answers.
    return balancer(rounds, seconds, size) | ray.run(2 * rounds // 3, 3 * seconds, size)


def balancer(rounds: int, seconds: float, size: str) -> dict[str, float]:
    """Measure both ways in turns, so that other load on the machine affects both alike."""
    host, load = Host("chronos", common.checkpoint("chronos", size)), Generator()
    with tempfile.TemporaryDirectory() as name:
        ini = Path(name) / "tsfm.ini"
        ini.write_text(
            f"[chronos]\nport = {host.port}\n[balancer]\nhosts = 127.0.0.1\nlisten = {BALANCER}\nfamilies = chronos\n"
        )
        proxy = Proxy(Path(name), ini)
        try:
            measured = [_round(host.port, load, seconds, WAYS[:: 1 - 2 * (turn % 2)]) for turn in range(rounds)]
            memory_mib = proxy.memory_mib()
        finally:
            proxy.stop()
            load.close()
            host.stop()
    found = {key: median(one[key] for one in measured) for key in measured[0]}
    late = sum(one["get_405_over_100ms"] for one in measured)
    return found | {"balancer_memory_mib": memory_mib, "get_405_over_100ms": late}


def _round(port: int, load: Generator, seconds: float, ways: Sequence[str]) -> dict[str, float]:
    """Both ways, in this order: what runs second may find a warmer machine."""
    # A constant series needs no model: what it takes is the way there and back.
    flat = [post("/ds_predict", {"input": [7.5] * common.CONTEXT, "next_len": common.HORIZON})]
    waves = server.requests([common.CONTEXT] * 64)
    alone = {way: load.run(port, 1, seconds / 3, flat, address=way) for way in ways}
    busy = {way: load.run(port, CLIENTS, seconds, waves, PROBE_S, address=way) for way in ways}
    direct, through = WAYS
    return {
        "balancer_overhead_ms": 1000 * (median(alone[through]["latencies_s"]) - median(alone[direct]["latencies_s"])),
        "balancer_efficiency_c32": busy[through]["rate_to_the_last"] / busy[direct]["rate_to_the_last"],
        "balancer_series_per_s_c32": busy[through]["rate_to_the_last"],
        "get_405_over_100ms": sum(wait > SOON_S for wait in busy[through]["probes_s"]),
    }
