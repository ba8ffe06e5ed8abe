"""Shared by the parts: paths, series, checkpoints, processes, medians."""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

import numpy as np

from tsfm.system.loopback import Broken, Unreachable, exchange

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build"
CONTEXT, HORIZON, THREADS = 512, 48, 2


def environment(**more: str) -> dict[str, str]:
    """The environment of our processes: the code of this tree, no downloads."""
    folders = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests"), str(ROOT)])
    return os.environ | {"PYTHONPATH": folders, "HF_HUB_OFFLINE": "1", "TSFM_INI": os.devnull} | more


def checkpoint(family: str, size: str) -> Path:
    """A random checkpoint of a real size in the official format, under build/checkpoints.

    It is made once, and again if its maker is newer: results for weights that cannot be reproduced mean nothing.
    """
    folder = BUILD / "checkpoints" / f"{family}-{size}"
    maker_file = ROOT / "tests" / "checkpoints" / f"{family}.py"
    if not folder.exists() or folder.stat().st_mtime < maker_file.stat().st_mtime:
        sys.path.insert(0, str(ROOT / "tests"))
        maker = importlib.import_module(f"checkpoints.{family}")
        sys.path.remove(str(ROOT / "tests"))
        partial = folder.with_name(folder.name + ".partial")
        maker.make(partial, size)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    return folder


def waves(lengths: Sequence[int], seed: int = 0) -> list[np.ndarray]:
    """Noisy daily waves, one for each length; their values do not affect speed."""
    source = np.random.default_rng(seed)
    return [
        10 + source.uniform(1, 5) * np.sin(2 * np.pi * np.arange(n) / 24) + source.normal(0, 0.3, n) for n in lengths
    ]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def serve(
    family: str,
    *options: str,
    env: dict[str, str] | None = None,
    python: str = sys.executable,
    start_new_session: bool = False,
) -> tuple[subprocess.Popen, int]:
    """Start `tsfm serve` under ``python`` on a free port, its log in build/bench.log; does not wait for it."""
    port = free_port()
    BUILD.mkdir(exist_ok=True)
    command = [python, "-m", "tsfm", "serve", family, "--port", str(port), *options]
    with (BUILD / "bench.log").open("ab") as stderr:
        began = subprocess.Popen(
            command, env=environment(**(env or {})), stderr=stderr, start_new_session=start_new_session
        )
    return began, port


def answers_first(pid: int, first: bool = True) -> None:
    """Schedule the thread of a service that answers as the unit does (chrt in tsfm@.service), or as without the unit.

    It needs root; without it the thread stays as it is.
    """
    policy, priority = (os.SCHED_RR | os.SCHED_RESET_ON_FORK, 1) if first else (os.SCHED_OTHER, 0)
    with suppress(PermissionError):
        os.sched_setscheduler(pid, policy, os.sched_param(priority))


def until_ready(process: subprocess.Popen, port: int, limit_s: float = 180) -> None:
    """Wait until GET /readyz returns 200.

    Raises:
        RuntimeError: the process ended, or was not ready in time.
    """
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(Unreachable, Broken):
            if exchange(f"http://127.0.0.1:{port}/readyz").status == 200:
                return
        time.sleep(0.02)
    raise RuntimeError(f"the service did not become ready: exit code {process.poll()}")


def ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """The median ratio of pairs of measurements taken side by side."""
    return median(a / b for a, b in zip(over, under, strict=True))


def rounded(value: float) -> float:
    """Round to four significant digits: more would be noise."""
    return float(f"{value:.4g}")
