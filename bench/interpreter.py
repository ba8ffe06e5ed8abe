"""The interpreter of the packages against Debian's own python3.11, in pairs.

Ratios of CPU time, which other work on the machine changes less than the time of the clock.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from statistics import fmean, median
from typing import TypeVar

from bench import common
from bench.load import Generator
from bench.server import requests

sys.path.insert(0, str(common.ROOT / "packaging"))

import interpreter

DEBIANS = "/usr/bin/python3.11"
IMPORTS = "import json, re, http.server, asyncio, ssl, decimal, logging, argparse"
CLIENTS, WARM, MEASURED = 8, 400, 2000  # requests
T = TypeVar("T")


def run(turns: int = 9) -> dict[str, float]:
    """Pure Python, start-up, and the edge of a service whose model repeats the last value; each counts a third."""
    ours = str(interpreter.tree() / interpreter.PROGRAM)
    micro = _pairs(ours, _micro, turns)
    tasks = {name: median(a[name] / b[name] for a, b in micro) for name in micro[0][0]}
    parts = {
        "micro": _mean(tasks.values()),
        "start": median(a / b for a, b in _pairs(ours, _start, 3 * turns)),
        "edge": median(a / b for a, b in _pairs(ours, _edge, turns)),
    }
    return {
        "interpreter_ratio": _mean(parts.values()),
        **{f"interpreter_ratio_{name}": value for name, value in parts.items()},
        **{f"interpreter_micro_{name}": value for name, value in tasks.items()},
    }


def _mean(ratios: Iterable[float]) -> float:
    return math.exp(fmean(map(math.log, ratios)))


def _pairs(ours: str, measure: Callable[[str], T], turns: int) -> list[tuple[T, T]]:
    return [(measure(ours), measure(DEBIANS)) for _ in range(turns)]


def _micro(python: str) -> dict[str, float]:
    script = str(Path(__file__).with_name("micro.py"))
    return json.loads(subprocess.run([python, "-I", script], capture_output=True, check=True).stdout)


def _start(python: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([python, "-I", "-c", IMPORTS], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _edge(python: str) -> float:
    """CPU seconds of a service for the requests of some clients."""
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    process, port = common.serve("naive", python=python, env={"PYTHONPATH": f"{common.ROOT / 'src'}:{packages}"})
    try:
        common.until_ready(process, port)
        with closing(Generator()) as load:
            load.run(port, CLIENTS, 600, requests([common.CONTEXT] * 8), count=WARM)
            before = common.cpu_s(process.pid)
            load.run(port, CLIENTS, 600, requests([common.CONTEXT] * 8), count=MEASURED)
            return common.cpu_s(process.pid) - before
    finally:
        process.terminate()
        process.wait(60)
