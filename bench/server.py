"""The server's overhead: Chronos-Bolt-tiny with random weights over HTTP, compared with the bare model."""

from __future__ import annotations

import subprocess
import sys
from statistics import median

import numpy as np

from bench import common
from bench.host import Host
from bench.load import Generator, post

CLIENTS = 32
ROUNDS, SECONDS = 7, 3.0
PROBE_S = 0.05


def run(rounds: int = ROUNDS, seconds: float = SECONDS, size: str = "bolt-tiny") -> dict[str, float]:
    """Measure everything in turns, so that other load on the machine affects all alike."""
    folder = common.checkpoint("chronos", size)
    host, plain, load = Host("chronos", folder), Plain(folder), Generator()
    try:
        measured = [_round(host, plain, load, seconds) for _ in range(rounds)]
    finally:
        load.close()
        plain.stop()
        host.stop()
    return {key: median(one[key] for one in measured) for key in measured[0]}


def _round(host: Host, plain: Plain, load: Generator, seconds: float) -> dict[str, float]:
    one = requests([common.CONTEXT] * 64)
    lengths = mixed_lengths()
    bare_one = median(host.bare([common.CONTEXT], 1, 20))
    alone = load.run(host.port, 1, seconds / 3, one)
    bare_one = (bare_one + median(host.bare([common.CONTEXT], 1, 20))) / 2
    bare_32 = host.bare([common.CONTEXT] * CLIENTS, CLIENTS, 4)
    busy = load.run(host.port, CLIENTS, seconds, one, PROBE_S)
    bare_32 += host.bare([common.CONTEXT] * CLIENTS, CLIENTS, 4)
    bare_8 = [_bare_sets(host, lengths)]
    mixed = load.run(host.port, CLIENTS, seconds, requests(lengths))
    bare_8.append(_bare_sets(host, lengths))
    slow = load.run(plain.port, CLIENTS, seconds / 2, one)
    latencies = np.array(busy["latencies_s"])
    latency_ms = median(alone["latencies_s"]) * 1000
    bare_rate, mixed_rate = CLIENTS / median(bare_32), len(lengths) / median(bare_8)
    return {
        "overhead_ms_c1": latency_ms - bare_one * 1000,
        "batch_efficiency_c32": busy["rate"] / bare_rate,
        "batch_efficiency_mixed": mixed["rate"] / mixed_rate,
        "speedup_vs_plain_c32": busy["rate"] / slow["rate_to_the_last"],
        "get_ms_p99_busy": float(np.quantile(busy["probes_s"], 0.99)) * 1000,
        "p99_over_p50_c32": float(np.quantile(latencies, 0.99) / np.quantile(latencies, 0.5)),
        "request_ms_c1": latency_ms,
        "bare_ms_b1": bare_one * 1000,
        "series_per_s_c32": busy["rate"],
        "series_per_s_bare_b32": bare_rate,
        "series_per_s_mixed": mixed["rate"],
        "series_per_s_bare_mixed_b8": mixed_rate,
        "series_per_s_plain_c32": slow["rate_to_the_last"],
        "post_ms_p50_c32": float(np.quantile(latencies, 0.5)) * 1000,
    }


def _bare_sets(host: Host, lengths: list[int]) -> float:
    """Seconds for all lengths, 32 at a time (the number of clients), each 32 sorted into batches of 8."""
    return sum(host.bare(lengths[at : at + CLIENTS], 8)[0] for at in range(0, len(lengths), CLIENTS))


def mixed_lengths(count: int = 128) -> list[int]:
    """Lengths from 64 to 2048 points, log-uniform."""
    return [int(n) for n in np.exp(np.random.default_rng(1).uniform(np.log(64), np.log(2048), count))]


def requests(lengths: list[int]) -> list[bytes]:
    """One POST for each length, with full float precision."""
    return [
        post("/ds_predict", {"input": wave.tolist(), "next_len": common.HORIZON, "conf_interval": 0.8})
        for wave in common.waves(lengths)
    ]


class Plain:
    """The plain server's process."""

    def __init__(self, folder: object) -> None:
        self.port = common.free_port()
        command = [sys.executable, "-m", "bench.plain", str(folder), str(self.port)]
        self._process = subprocess.Popen(
            command, env=common.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        common.until_ready(self._process, self.port)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)
