"""The first calls of a loaded model: does it give numbers, and how many threads suit one series?"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from tsfm.engine.tasks import Steps
from tsfm.engine.work import Call, WorkItem
from tsfm.errors import ModelFailed
from tsfm.nets import threads as cpu_threads
from tsfm.series import Forecast, Model, Series
from tsfm.settings import Settings

log = logging.getLogger(__name__)
EXAMPLE_POINTS = 512
# A model whose first forward takes longer gains from every CPU: one thread is not tried, and the start not held up.
WORTH_TRYING_S = 0.05
TRIES = 3
# More batches at once would mostly wait for the interpreter, which each of their products needs for a moment.
MOST_WORKERS = 4
GPU_BATCHES = 8  # batches of a CPU in one of a GPU


def workers(device: str, threads: int) -> int:
    """Batches that may run at once: on a CPU one for each thread, on a GPU one."""
    return min(threads, MOST_WORKERS) if device == "cpu" else 1


def threads_of(device: str, threads: int) -> int:
    """CPU threads for all batches: one where a GPU computes."""
    return threads if device == "cpu" else 1


def batch_points(device: str, points: int) -> int:
    """The largest batch: what suits a CPU, and more on a GPU, where a batch that does not fit is halved."""
    return points if device == "cpu" else GPU_BATCHES * points


def trial(steps: Steps, model: Model, limits: Settings, family: str, threads: int) -> WorkItem:
    """A request of the usual length whose output is the number of threads that suits one series."""
    points = max(EXAMPLE_POINTS, limits.min_rows)
    wide = Settings(**vars(limits) | {"max_rows": max(points, limits.max_rows)})
    request = steps.read(steps.example(points, wide), wide)
    item = cast(WorkItem, steps.work(request, model, family))  # never known: the example is no constant
    return WorkItem(item.series, Trial(item.call, threads))


@dataclass(frozen=True)
class Trial:
    """Calls the model several times, and gives the number of threads with which one series takes the least time.

    That is all of them or one: in a small model the threads of a product spend more time waiting for each other than
    computing. The first output is checked: a model that gives no numbers for an ordinary series will give none for
    any other.
    """

    call: Call
    threads: int

    def run(self, batch: Sequence[Series]) -> list[int]:
        first_s = self._seconds(batch, self.threads, look=True)
        if first_s > WORTH_TRYING_S or self.threads == 1:
            return [self.threads]
        turns = [(self._seconds(batch, self.threads), self._seconds(batch, 1)) for _ in range(TRIES)]
        many, one = (min(seconds) for seconds in zip(*turns, strict=True))
        chosen = 1 if one < many else self.threads
        timing = f"{many * 1000:.1f} ms with all, {one * 1000:.1f} ms with one"
        log.info("a series that is alone runs on %d of %d threads: %s", chosen, self.threads, timing)
        return [chosen]

    def _seconds(self, batch: Sequence[Series], threads: int, look: bool = False) -> float:
        cpu_threads.use(threads)
        began = time.perf_counter()
        outputs = self.call.run(batch)
        seconds = time.perf_counter() - began
        if look:
            _check_numbers(outputs)
        return seconds


def _check_numbers(outputs: Sequence[object]) -> None:
    for output in outputs:
        parts = (output.median, output.quantiles) if isinstance(output, Forecast) else (output,)
        if not all(np.isfinite(part).all() for part in parts if isinstance(part, np.ndarray)):
            raise ModelFailed("the model's answer holds values that are not numbers")
