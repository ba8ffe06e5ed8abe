"""One inference thread that takes what is queued when the model is free: no timer, no waiting for a batch to fill.

Knows neither HTTP nor any model: it runs groups of jobs through whatever ``Ask`` says.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from tsfm.errors import ModelFailed, NotReady, OutOfMemory, TsfmError
from tsfm.series import Series

log = logging.getLogger(__name__)
# What a call of a model costs beyond its points, counted in points: padding that costs more than a call of
# its own is not worth it. For small models on two cores; for large ones a call is dearer still.
CALL_POINTS = 1024
# As far as the queue is looked at for the best batch; the time for that grows with the square.
CONSIDERED = 128


class Ask(Protocol):
    """What is asked of the model; equal asks may share a batch, so it must be hashable."""

    def run(self, batch: Sequence[Series]) -> Sequence[object]:
        """One answer for each series, in their order."""
        ...


def always() -> bool:
    """The client is still there, as far as anyone knows."""
    return True


@dataclass(eq=False)
class Job:
    """One series waiting for its answer."""

    series: Series
    ask: Ask
    wanted: Callable[[], bool] = always  # False once the client has left
    future: Future[object] = field(default_factory=Future)

    @property
    def group(self) -> Hashable:
        return self.ask, self.series.schema


class Batcher:
    """Runs jobs on one thread, in batches of similar length.

    Args:
        batch_points: largest batch: its longest context times its number of series.
        observe: told the size of each batch that ran.
    """

    def __init__(self, batch_points: int, observe: Callable[[int], object]) -> None:
        self._batch_points = batch_points
        self._observe = observe
        self._waiting: list[Job] = []
        self._changed = threading.Condition()
        self._closing = False
        self._busy_since: float | None = None
        self._pulse: Future[None] | None = None
        self._thread = threading.Thread(target=self._loop, name="inference", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> Future[object]:
        """Queue a job; cancel its future to take it back while it waits."""
        with self._changed:
            if self._closing:
                raise NotReady("the service is stopping")
            self._waiting.append(job)
            self._changed.notify()
        return job.future

    def close(self, timeout_s: float | None = None) -> None:
        """Answer what is queued, then end the thread; wait for that at most ``timeout_s``."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def healthy(self, stall_s: float) -> bool:
        """The thread takes up work when idle and its present batch is not older than ``stall_s``."""
        with self._changed:
            since = self._busy_since
            pulse: Future[None] = Future()
            if since is None:
                self._pulse = pulse
                self._changed.notify()
        if since is not None:
            return not self.stuck(stall_s)
        try:
            pulse.result(timeout=stall_s)
        except TimeoutError:
            return False
        return True

    def stuck(self, stall_s: float) -> bool:
        """The thread has ended, or its present batch is older than ``stall_s``; told at once."""
        since = self._busy_since
        return not self._thread.is_alive() or (since is not None and time.monotonic() - since >= stall_s)

    @property
    def length(self) -> int:
        """Jobs that wait."""
        return len(self._waiting)

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._busy_since = None
                self._changed.wait_for(lambda: self._waiting or self._closing or self._pulse)
                if self._pulse:
                    self._pulse.set_result(None)
                    self._pulse = None
                if not self._waiting:
                    if self._closing:
                        return
                    continue
                batch = self._take()
                self._busy_since = time.monotonic()
            # A job whose client gave up (or left) is dropped here, before it costs anything.
            batch = [job for job in batch if self._starts(job)]
            if batch:
                self._observe(len(batch))
                try:
                    _run(batch)
                except BaseException as error:  # noqa: BLE001  sys.exit in a model package
                    self._end(batch, error)
                    return

    def _end(self, batch: list[Job], error: BaseException) -> None:
        """The thread ends here: nobody may wait for it in vain."""
        log.critical("the inference thread has ended", exc_info=error)
        with self._changed:
            self._closing = True
            left, self._waiting = batch + self._waiting, []
        for job in left:
            if not job.future.done():
                job.future.set_exception(ModelFailed("the inference thread has ended"))

    @staticmethod
    def _starts(job: Job) -> bool:
        if not job.wanted():
            job.future.cancel()
        return job.future.set_running_or_notify_cancel()

    def _take(self) -> list[Job]:
        """The batch that holds the oldest job when what waits is split as cheaply as possible."""
        oldest = self._waiting[0]
        mates = [job for job in self._waiting if job.group == oldest.group][:CONSIDERED]
        mates.sort(key=lambda job: len(job.series))
        own = mates.index(oldest)
        spans = split([len(job.series) for job in mates], self._batch_points)
        taken = next(mates[low:high] for low, high in spans if low <= own < high)
        chosen = set(map(id, taken))
        self._waiting = [job for job in self._waiting if id(job) not in chosen]
        return taken


def split(lengths: Sequence[int], batch_points: int) -> list[tuple[int, int]]:
    """The cheapest way to cut ascending lengths into batches, each padded to its longest.

    A batch costs its longest context times its size, and a call; what costs more than ``batch_points``
    is cut, unless it is a single series.

    Returns:
        half-open spans of indexes, in order; among equally cheap ways the first ones are the fullest.
    """
    count = len(lengths)
    cheapest: list[tuple[float, int]] = [(0.0, count)] * (count + 1)  # from each index on: cost, end of its batch
    for low in reversed(range(count)):
        ways = []
        for high in range(low + 1, count + 1):
            points = lengths[high - 1] * (high - low)
            if points > batch_points and high > low + 1:
                break
            ways.append((CALL_POINTS + points + cheapest[high][0], -high))
        cost, end = min(ways)
        cheapest[low] = cost, -end
    spans, low = [], 0
    while low < count:
        spans.append((low, cheapest[low][1]))
        low = cheapest[low][1]
    return spans


def _run(batch: list[Job]) -> None:
    try:
        answers = batch[0].ask.run([job.series for job in batch])
        if len(answers) != len(batch):
            raise ModelFailed(f"the model gave {len(answers)} answers for {len(batch)} series")
    except Exception as error:  # noqa: BLE001  whatever a model package raises is the model's failure
        _fail(batch, error)
    else:
        for job, answer in zip(batch, answers, strict=True):
            job.future.set_result(answer)


def _fail(batch: list[Job], error: Exception) -> None:
    """One bad series must not fail its neighbours, and half a batch needs half the memory: try the halves."""
    if len(batch) > 1:
        middle = len(batch) // 2
        _run(batch[:middle])
        _run(batch[middle:])
        return
    batch[0].future.set_exception(error if isinstance(error, TsfmError) else _as_ours(error, batch[0].series))


def _as_ours(error: Exception, series: Series) -> TsfmError:
    past, future = series.schema
    # torch tells a failed allocation on CPU only by its text.
    if isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error):
        size = f"{len(series)} points and {past + future} covariates"
        ours: TsfmError = OutOfMemory(f"the model ran out of memory on one series of {size}")
    else:
        ours = ModelFailed(f"the model failed: {type(error).__name__}: {error}")
    ours.__cause__ = error
    return ours
