"""TDgpt's ``/list``: a GET at each of seven services in a row, while six of them are fed the longest series of TDgpt.

The database allows 100 ms for it. Bodies of 40,000 points are read by a process of each service, so that six models,
six readers and seven edges share the CPUs.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import numpy as np

from bench import common, load

FAMILIES = (
    ("chronos", "bolt-tiny"),
    ("fracast", ""),
    ("moirai", "moe-small"),
    ("tdtsfm", "v1"),
    ("timemoe", "50M"),
    ("timesfm", "500m"),
    ("moment", "small"),  # it fills gaps and gets no forecast: it only answers
)
POINTS, SECONDS, PAUSE_S, SOON_S = 40_000, 60.0, 0.1, 0.1
TURNS = 10


def run(
    families: Sequence[tuple[str, str]] = FAMILIES, points: int = POINTS, seconds: float = SECONDS, turns: int = TURNS
) -> dict[str, float]:
    """Measure with the unit's way of scheduling and without it, in turns.

    Args:
        families: with the size of the weights; the last one is not fed.
        seconds: for both ways together.
    """
    with ExitStack() as running, closing(load.Generator()) as generator, ThreadPoolExecutor(1) as pool:
        services = [_start(running, family, size) for family, size in families]
        ports = [port for port, _ in services]
        body = load.post("/ds_predict", {"input": common.waves([points])[0].tolist(), "next_len": common.HORIZON})
        fed = ports[:-1], len(ports) - 1
        generator.run(*fed, 0.1, [body])  # starts the processes that read bodies
        feeding = pool.submit(generator.run, *fed, seconds, [body])
        waits: dict[bool, list[np.ndarray]] = {False: [], True: []}
        for _ in range(turns):
            for first, found in waits.items():
                for _, pid in services:
                    common.answers_first(pid, first)
                found.append(_rounds(ports, seconds / turns / len(waits)))
        feeding.result()
    unit, plain = (np.concatenate(waits[first]) for first in (True, False))
    return {
        "list_over_100ms": float(np.mean(unit > SOON_S)),
        "list_over_100ms_plain": float(np.mean(plain > SOON_S)),
        "list_get_ms_p50": float(np.quantile(unit, 0.5)) * 1000,
        "list_get_ms_p50_plain": float(np.quantile(plain, 0.5)) * 1000,
        "list_get_ms_p99": float(np.quantile(unit, 0.99)) * 1000,
        "list_get_ms_p99_plain": float(np.quantile(plain, 0.99)) * 1000,
    }


def _start(running: ExitStack, family: str, size: str) -> tuple[int, int]:
    """Port and process of a service, in a session of its own, as systemd starts it."""
    weights = ["--model-folder", str(common.checkpoint(family, size))] if size else []
    process, port = common.serve(family, *weights, start_new_session=True)
    running.callback(process.wait, 60)
    running.callback(process.terminate)
    common.until_ready(process, port)
    return port, process.pid


def _rounds(ports: Sequence[int], seconds: float) -> np.ndarray:
    """Seconds of each GET, shape (rounds, services)."""
    ends, rounds = time.monotonic() + seconds, []
    while not rounds or time.monotonic() < ends:
        rounds.append([_get(port) for port in ports])
        time.sleep(PAUSE_S)
    return np.array(rounds)


def _get(port: int) -> float:
    """Seconds for one GET on a connection of its own, as TDgpt's client makes it."""
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), load.PATIENCE_S) as client:
        client.sendall(b"GET /ds_predict HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
        while client.recv(1 << 16):
            pass
    return time.perf_counter() - began
