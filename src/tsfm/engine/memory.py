"""The memory that is left for one more forward, and an estimate of what a large request needs."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

from tsfm.errors import OutOfMemory
from tsfm.series import Group, Series

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
# Peak memory of a forward beyond what the process had before, for each point of each row (target and covariates):
# the largest of all families, measured with Chronos-2 (120 M parameters, float32), times 1.5.
BYTES_PER_POINT = 6_000
EVERY_S = 1.0


def check_fits(series: Series | Group) -> None:
    """Refuse a series, or a group of them, that would not fit into the memory that is left.

    Raises:
        OutOfMemory: with the size, the estimate and what is left.
    """
    needed, left = series.points * BYTES_PER_POINT, available()
    if needed > left:
        raise OutOfMemory(f"{series.described} needs about {needed >> 20} MiB, and {left >> 20} MiB are left")


class HeapTrimmer:
    """Returns unused memory of the allocator to the host, at most once in ``EVERY_S`` seconds.

    A call gives the seconds after which to call again, if it came too early; None: the memory is returned.

    Products of changing shapes leave holes that glibc keeps for later: a third of a GiB after Time-MoE.
    """

    def __init__(self) -> None:
        self._next = 0.0
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only

    def __call__(self) -> float | None:
        now = time.monotonic()
        if now < self._next:
            return self._next - now
        if self._trim:
            self._next = now + EVERY_S
            self._trim(0)
        return None


def available() -> int:
    """Bytes that are left on the host, or below the unit's MemoryMax= where that is less."""
    lines = (PROC / "meminfo").read_text(encoding="ascii").splitlines()
    host = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    return min([host, *_left_in_cgroups()])


def _left_in_cgroups() -> list[int]:
    # In the unified hierarchy the line is "0::/system.slice/..."; each level may have its own limit.
    lines = (PROC / "self/cgroup").read_text(encoding="utf-8").splitlines()
    path = next((line[3:] for line in lines if line.startswith("0::")), "/")
    own = CGROUPS / path.strip("/")
    left = []
    for folder in [own, *own.parents]:
        most = folder / "memory.max"
        if folder.is_relative_to(CGROUPS) and most.exists() and (limit := most.read_text().strip()) != "max":
            left.append(max(0, int(limit) - _working_set(folder)))
    return left


def _working_set(folder: Path) -> int:
    """Bytes of a cgroup that the kernel cannot simply drop, as Kubernetes counts them.

    Weights are mapped files: once read, they stay in the page cache and count in ``memory.current``, but the kernel
    frees inactive pages before it refuses an allocation.
    """
    used, stat = int((folder / "memory.current").read_text()), folder / "memory.stat"
    lines = stat.read_text(encoding="ascii").splitlines() if stat.exists() else []
    inactive = (int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    return max(0, used - next(inactive, 0))
