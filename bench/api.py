"""Many series in one request: speed beside the bare model, and what single requests and GETs wait beside them."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from statistics import median

import numpy as np

from bench import common, tables
from bench.host import Host
from bench.load import Generator, post

SERIES, BATCH, ROUNDS, SECONDS = 1000, 32, 5, 8.0
LARGEST = (32 << 20) - 1  # bytes of a body, as the setting max_body_mib allows
LONG_POINTS, PROBE_S = 1700, 0.01  # points of each of 1,000 series that fill the largest body


def run(
    rounds: int = ROUNDS, seconds: float = SECONDS, size: str = "bolt-tiny", series: int = SERIES
) -> dict[str, float]:
    """Measure everything in turns, so that other load on the machine affects all alike."""
    host, load = Host("chronos", common.checkpoint("chronos", size)), Generator()
    body = many(series)
    try:
        timed(host.port, body)  # the process that reads large bodies starts with the first one
        measured = [_speed(host, body, series) for _ in range(rounds)]
        fairness = _fairness(host, load, body, seconds)
        waits = [_waits(host, load, series, seconds) for _ in range(rounds)]
    finally:
        load.close()
        host.stop()
    medians = {key: median(one[key] for one in turns) for turns in (measured, waits) for key in turns[0]}
    return medians | fairness | tables.run(rounds * 3)


def many(series: int, points: int = common.CONTEXT) -> bytes:
    """The body of a request of so many series."""
    inputs = [{"item_id": at, "target": wave.tolist()} for at, wave in enumerate(common.waves([points] * series))]
    levels = [0.1, 0.9]
    return json.dumps(
        {
            "inputs": inputs,
            "parameters": {"prediction_length": common.HORIZON, "quantile_levels": levels},
        }
    ).encode()


def timed(port: int, body: bytes) -> float:
    """Seconds until the whole answer is there.

    Raises:
        RuntimeError: it is no answer.
    """
    began = time.perf_counter()
    reply = common.exchange(f"http://127.0.0.1:{port}/v1/forecast", body, timeout_s=120)
    seconds = time.perf_counter() - began
    if reply.status != 200 or b'"error"' in reply.body:
        raise RuntimeError(f"{reply.status}: {reply.body[:200]!r}")
    return seconds


def _speed(host: Host, body: bytes, series: int) -> dict[str, float]:
    lengths = [common.CONTEXT] * series
    (before,) = host.bare(lengths, BATCH)
    seconds = timed(host.port, body)
    (after,) = host.bare(lengths, BATCH)
    bare = (before + after) / 2
    return {
        "api_many_efficiency": bare / seconds,
        "api_series_per_s": series / seconds,
        "api_series_per_s_bare": series / bare,
    }


def _fairness(host: Host, load: Generator, body: bytes, seconds: float) -> dict[str, float]:
    """One client asks for single series, one after the other, alone and beside large requests without a pause."""
    one = [
        post(
            "/v1/forecast", {"inputs": [{"target": wave.tolist()}], "parameters": {"prediction_length": common.HORIZON}}
        )
        for wave in common.waves([common.CONTEXT] * 64)
    ]
    alone = median(load.run(host.port, 1, seconds / 2, one)["latencies_s"])
    batch = median(host.bare([common.CONTEXT] * BATCH, BATCH, 10))
    ended = threading.Event()

    def large() -> None:
        while not ended.is_set():
            timed(host.port, body)

    thread = threading.Thread(target=large)
    thread.start()
    try:
        beside = load.run(host.port, 1, seconds, one)["latencies_s"]
    finally:
        ended.set()
        thread.join()
    late = float(np.quantile(beside, 0.99))
    return {
        "api_fairness_p99": late / (3 * alone + batch),
        "api_single_ms_alone": alone * 1000,
        "api_single_ms_p99_beside": late * 1000,
        "api_batch_ms": batch * 1000,
    }


def _waits(host: Host, load: Generator, series: int, seconds: float) -> dict[str, float]:
    """GETs beside a client that sends the largest body again and again; the other process sends and receives."""
    body = many(series, LONG_POINTS).ljust(LARGEST)
    head = f"POST /v1/forecast HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with ThreadPoolExecutor(1) as pool, closing(HTTPConnection("127.0.0.1", host.port)) as client:
        sending = pool.submit(load.run, host.port, 1, seconds, [head.encode() + b"\r\n\r\n" + body])
        waits = []
        while not sending.done():
            began = time.perf_counter()
            client.request("GET", "/ds_predict")
            client.getresponse().read()
            waits.append(time.perf_counter() - began)
            time.sleep(PROBE_S)
        sending.result()
    p50, p99 = np.quantile(waits, (0.5, 0.99)) * 1000
    return {"get_ms_p99_largest_body": float(p99), "get_ms_p50_largest_body": float(p50)}
