"""Start time and memory: the service compared with only importing torch and loading the model."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median

import numpy as np

from bench import common
from bench.load import Generator, post
from bench.server import requests

# family, size of its checkpoint, turns
CASES = {
    "fracast": ("", 5),
    "timemoe": ("50M", 3),
    "tdtsfm": ("v1", 3),
    "chronos": ("bolt-tiny", 3),
    "moirai": ("moe-small", 3),
    "timesfm": ("500m", 2),
    "moment": ("small", 3),
    "flowstate": ("r1.1", 3),
    "toto": ("4m", 3),
    "tirex": ("38m", 3),
}
IDLE_S = 10.0
BUSY_CLIENTS, BUSY_S = 8, 6.0
REST_S = 1.5  # after which free memory has gone back to the host
LOAD = """
import sys, torch
from pathlib import Path
from tsfm import families
from tsfm.series import Runtime
families.load(sys.argv[1], Path(sys.argv[2]) if sys.argv[2] else None, Runtime(threads=int(sys.argv[3])))
"""
MEMORY = "import torch; print(open('/proc/self/status').read())"


def run(
    keys: Sequence[str] = tuple(CASES),
    turns: int | None = None,
    idle_s: float = IDLE_S,
    many: int = 10_000,
    busy_s: float = BUSY_S,
) -> dict[str, float]:
    """The starts of all families, then idle CPU and memory of one service over time."""
    found = _imports(turns or 5)
    torch_mib = _rss_mib(_output(MEMORY))
    for family in keys:
        size, usual = CASES[family]
        found |= _family(family, size, turns or usual, torch_mib, busy_s)
    if "timemoe" in keys:
        found |= _in_int8(torch_mib)
    return found | {"rss_mib_bare_torch": torch_mib} | _over_time(idle_s, many)


def _family(family: str, size: str, turns: int, torch_mib: float, busy_s: float) -> dict[str, float]:
    folder = common.checkpoint(family, size) if size else None
    bare, ready, memory = [], [], []
    with closing(Generator()) as load:
        for _ in range(turns):
            began = time.perf_counter()
            _output(LOAD, family, str(folder or ""), str(common.THREADS))
            bare.append(time.perf_counter() - began)
            began = time.perf_counter()
            with _served(family, folder) as (process, port):
                ready.append(time.perf_counter() - began)
                load.run(port, 4, 120, _requests(family), count=24)  # so that the memory is that of serving
                memory.append(_rss_mib(Path(f"/proc/{process.pid}/status").read_text()))
                if len(ready) == turns:
                    busy = load.run(port, BUSY_CLIENTS, busy_s, _requests(family))
                    busy_mib = _rss_mib(Path(f"/proc/{process.pid}/status").read_text())
    weights_mib = _weights_bytes(family, folder) / 2**20
    return {
        f"start_ratio_{family}": common.ratio(ready, bare),
        f"ready_s_{family}": median(ready),
        f"import_and_load_s_{family}": median(bare),
        f"rss_ratio_{family}": median(memory) / (weights_mib + torch_mib),
        f"rss_mib_{family}": median(memory),
        f"weights_mib_{family}": weights_mib,
        f"busy_series_per_s_{family}": busy["rate_to_the_last"],
        f"busy_rss_mib_{family}": busy_mib,
    }


def _in_int8(torch_mib: float) -> dict[str, float]:
    """Memory of Time-MoE in int8 once nothing is asked, over that of its weights in bfloat16 and bare torch."""
    folder = common.checkpoint("timemoe", "50M")
    with closing(Generator()) as load, _served("timemoe", folder, "--dtype", "int8") as (process, port):
        load.run(port, 4, 120, _requests("timemoe"), count=24)
        time.sleep(REST_S)
        memory = _rss_mib(Path(f"/proc/{process.pid}/status").read_text())
    weights_mib = _weights_bytes("timemoe", folder) / 2**20
    return {"rest_ratio_timemoe_int8": memory / (weights_mib + torch_mib), "rest_mib_timemoe_int8": memory}


def _imports(turns: int) -> dict[str, float]:
    """Seconds to import all that serving the default family needs, compared with ``import torch``."""
    ours, bare = [], []
    for _ in range(turns):
        for code, times in (("import torch", bare), ("import tsfm.http.server, tsfm.families.fracast", ours)):
            began = time.perf_counter()
            _output(code)
            times.append(time.perf_counter() - began)
    return {
        "import_s_ratio": common.ratio(ours, bare),
        "import_s_serving": median(ours),
        "import_s_torch": median(bare),
    }


def _over_time(idle_s: float, many: int) -> dict[str, float]:
    """Idle CPU, and memory after many requests of all lengths and horizons, some of them invalid."""
    mixture = _mixture()
    folder = common.checkpoint("chronos", "bolt-tiny")
    with closing(Generator()) as load, _served("chronos", folder) as (process, port):
        before = common.cpu_s(process.pid)
        time.sleep(idle_s)
        idle = common.cpu_s(process.pid) - before
        load.run(port, 16, 600, mixture, count=many // 10)
        early = _rss_mib(Path(f"/proc/{process.pid}/status").read_text())
        load.run(port, 16, 600, mixture, count=many - many // 10)
        late = _rss_mib(Path(f"/proc/{process.pid}/status").read_text())
    return {
        "idle_cpu_percent": 100 * idle / idle_s,
        "rss_growth": late / early - 1,
        "rss_mib_after_1000": early,
        "rss_mib_after_10000": late,
    }


def _mixture() -> list[bytes]:
    source = np.random.default_rng(2)
    lengths = np.exp(source.uniform(np.log(16), np.log(2048), 500)).astype(int)
    good = [
        post("/ds_predict", {"input": wave.tolist(), "next_len": int(source.integers(1, 65))})
        for wave in common.waves(lengths)
    ]
    return good + [post("/ds_predict", {"input": "wrong"})] * 20


@contextmanager
def _served(family: str, folder: Path | None, *more: str) -> Iterator[tuple[subprocess.Popen, int]]:
    """A running service that has sent READY=1 to its notify socket, as to systemd."""
    with tempfile.TemporaryDirectory() as runtime, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(f"{runtime}/notify")
        channel.settimeout(180)
        options = ["--model-folder", str(folder)] if folder else []
        process, port = common.serve(
            family, *options, *more, "--threads", str(common.THREADS), env={"NOTIFY_SOCKET": f"{runtime}/notify"}
        )
        try:
            while b"READY=1" not in channel.recv(4096):
                pass
            yield process, port
        finally:
            process.terminate()
            process.wait(60)


def _requests(family: str) -> list[bytes]:
    """Eight requests of the usual length; for imputation, each with a gap of 12 points in the middle."""
    if family != "moment":
        return requests([common.CONTEXT] * 8)
    rows = {"ts": _holed(common.CONTEXT - 12), "precision": "s", "freq": "1S"}
    waves = common.waves([common.CONTEXT - 12] * 8)
    return [post("/imputation", {"input": wave.tolist(), **rows}) for wave in waves]


def _holed(rows: int) -> list[int]:
    return [1_700_000_000 + i + 12 * (i >= rows // 2) for i in range(rows)]


def _output(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    from tsfm.system import preload

    environment = common.environment(**preload.TORCH)  # as the service sets it
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return ended.stdout


def _rss_mib(status: str) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found.group(1)) / 1024 if found else 0.0


def _weights_bytes(family: str, folder: Path | None) -> int:
    if folder is None:
        from importlib import resources

        folder = Path(str(resources.files(family))) / "weights"
    return sum(file.stat().st_size for file in folder.iterdir() if file.suffix in (".safetensors", ".ckpt", ".pth"))
