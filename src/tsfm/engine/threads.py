"""How many CPUs a thread's arithmetic uses."""

from __future__ import annotations

import sys

# More batches at once would mostly wait for the interpreter, which each of their products needs for a moment.
MOST_LANES = 4


def lanes(device: str, threads: int) -> int:
    """Batches that may run at once: on a CPU one for each thread, on a GPU one."""
    return min(threads, MOST_LANES) if device == "cpu" else 1


def use(threads: int) -> None:
    """Set it for the calling thread alone (OpenMP's own rule); without torch loaded there is nothing to set."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)
