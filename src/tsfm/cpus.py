"""How many CPUs a thread's arithmetic uses."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tsfm.jobs import Ask
from tsfm.series import Series

# More batches at once would mostly wait for the interpreter, which each of their products needs for a moment.
MOST_LANES = 4
# A forward that takes longer gains by every CPU: it is not tried with one.
WORTH_TRYING_S = 0.1
TRIES = 5


def lanes(device: str, threads: int) -> int:
    """Batches that may run at once: on a CPU one for each thread, on a GPU one."""
    return min(threads, MOST_LANES) if device == "cpu" else 1


def use(threads: int) -> None:
    """Set it for the calling thread alone (OpenMP's own rule); without torch loaded there is nothing to set."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Trial:
    """Asks the model for the same several times, and answers how many threads one series is done soonest with.

    That is all of them or one: in a small model the threads of a product wait for one another longer than it takes.
    """

    ask: Ask
    threads: int

    def run(self, batch: Sequence[Series]) -> list[int]:
        if self._seconds(batch, self.threads) > WORTH_TRYING_S or self.threads == 1:
            return [self.threads]
        turns = [(self._seconds(batch, self.threads), self._seconds(batch, 1)) for _ in range(TRIES)]
        many, one = (min(seconds) for seconds in zip(*turns, strict=True))
        return [1 if one < many else self.threads]

    def _seconds(self, batch: Sequence[Series], threads: int) -> float:
        use(threads)
        began = time.perf_counter()
        self.ask.run(batch)
        return time.perf_counter() - began
