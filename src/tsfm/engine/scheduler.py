"""Inference threads that take what is queued when the model is free: no timer, no waiting for a batch to fill.

Knows neither HTTP nor any model: it runs groups of items through their ``Call``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from tsfm.engine.ingress import Ingress
from tsfm.engine.pending import give_up
from tsfm.engine.planner import split
from tsfm.engine.work import WorkItem, run_batch
from tsfm.errors import ModelFailed, NotReady

log = logging.getLogger(__name__)
# As far as the queue is looked at for the best batch; the time for that grows with the square.
MAX_SCAN = 128
# The most that a batch waits for requests that have come but are still being read, seconds.
PATIENCE_S = 0.1


def no_threads(threads: int) -> None:
    """The model's arithmetic has no threads to be set."""


@dataclass(eq=False)
class Worker:
    """One inference thread: since when its present batch runs, and the last pulse that it answered."""

    thread: threading.Thread
    work: threading.Condition  # it waits for it when idle
    busy_since: float | None = None
    size: int = 0  # of its present batch
    pulse: int = 0
    last_s: float = 0.0  # what its last batch took

    def rests(self) -> None:
        if self.busy_since is not None:
            self.last_s = time.monotonic() - self.busy_since
        self.busy_since, self.size = None, 0

    def stuck(self, stall_s: float) -> bool:
        since = self.busy_since
        return not self.thread.is_alive() or (since is not None and time.monotonic() - since >= stall_s)


class Scheduler:
    """Runs items in batches of similar length, on one thread or, each its own batch, on several.

    Two batches on one CPU each are done sooner than both on two CPUs, one after the other: the threads of a small
    product wait for one another longer than it takes. A batch that has nobody beside it gets all CPUs.

    Args:
        batch_points: largest batch: its longest context times its number of series.
        observe: told the size of each batch that ran.
        workers: batches that may run at once.
        threads: CPU threads for all of them together.
        use_threads: sets how many of those the calling thread's arithmetic uses.
        ingress: requests at the edge, which may be about to bring items: a batch waits for those that have come, as
            long as the batch before it took and at most ``PATIENCE_S``. For others it never waits.
        trim: called after a batch when nothing waits.

    Attributes:
        threads_alone: the most threads for a batch of a single series.
    """

    def __init__(
        self,
        batch_points: int,
        observe: Callable[[int], object],
        workers: int = 1,
        threads: int = 1,
        use_threads: Callable[[int], object] = no_threads,
        ingress: Ingress | None = None,
        trim: Callable[[], object] = lambda: None,
    ) -> None:
        self._batch_points = batch_points
        self._observe = observe
        self._threads = self.threads_alone = threads
        self._use_threads = use_threads
        self._trim = trim
        self._patience_s = PATIENCE_S
        self._ingress = ingress or Ingress()
        self._ingress.when_none = self._nudge
        self._waiting: list[WorkItem] = []
        self._lock = threading.Lock()
        self._answered = threading.Condition(self._lock)  # who asks for their health waits for it
        self._closing = False
        self._pulse = 0
        self._workers: list[Worker] = []
        for number in range(workers):
            thread = threading.Thread(target=self._loop, args=[number], name=f"inference-{number}", daemon=True)
            self._workers.append(Worker(thread, threading.Condition(self._lock)))
        for worker in self._workers:
            worker.thread.start()

    def submit(self, item: WorkItem) -> Future[object]:
        """Queue a item; cancel its future to take it back: while it waits, it is not computed then."""
        with self._lock:
            if self._closing:
                raise NotReady("the service is stopping")
            self._waiting.append(item)
            self._call_one()
        return item.future

    def close(self, timeout_s: float | None = None) -> None:
        """Answer what is queued, then end the threads; wait at most ``timeout_s`` for all of them together."""
        with self._lock:
            self._closing = True
            self._call_all()
        ends = None if timeout_s is None else time.monotonic() + timeout_s
        for worker in self._workers:
            worker.thread.join(None if ends is None else max(0.0, ends - time.monotonic()))

    def healthy(self, stall_s: float) -> bool:
        """Every thread takes up work when idle, and no present batch is older than ``stall_s``."""
        with self._lock:
            self._pulse += 1
            self._call_all()
            answered = self._answered.wait_for(self._all_answered, stall_s)
        return answered and not self.stuck(stall_s)

    def stuck(self, stall_s: float) -> bool:
        """A thread has ended, or its present batch is older than ``stall_s``; told at once."""
        return any(worker.stuck(stall_s) for worker in self._workers)

    @property
    def length(self) -> int:
        """WorkItems that wait."""
        return len(self._waiting)

    def _all_answered(self) -> bool:
        return all(worker.busy_since is not None or worker.pulse == self._pulse for worker in self._workers)

    def _loop(self, number: int) -> None:
        worker = self._workers[number]
        while (taken := self._next(worker)) is not None:
            batch, threads = taken
            # A item whose client gave up (or left) is dropped here, before it costs anything.
            batch = [item for item in batch if self._starts(item)]
            if batch:
                self._observe(len(batch))
                self._use_threads(threads)
                try:
                    run_batch(batch)
                except BaseException as error:  # noqa: BLE001  sys.exit in a model package
                    self._end(batch, error)
                    return
                if not self._waiting:
                    self._trim()

    def _next(self, worker: Worker) -> tuple[list[WorkItem], int] | None:
        """Wait for a batch and the number of threads it may use; None: there will be none."""
        with self._lock:
            worker.rests()
            while not self._waiting and not self._closing:
                worker.pulse = self._pulse
                self._answered.notify_all()
                worker.work.wait()
            ends = time.monotonic() + min(worker.last_s, self._patience_s)
            while self._worth_waiting() and (left := ends - time.monotonic()) > 0:
                worker.work.wait(left)
            if not self._waiting:
                return None if self._closing else ([], 1)
            worker.busy_since = time.monotonic()
            batch = self._take()
            worker.size = len(batch)
            idle = sum(other.busy_since is None for other in self._workers)
            busy = len(self._workers) - idle
            if idle and self._waiting:
                self._call_one()
                busy += 1
            threads = max(1, self._threads // busy)
            return batch, threads if len(batch) > 1 else min(threads, self.threads_alone)

    def _worth_waiting(self) -> bool:
        """Somebody who has come may still join, and there is room."""
        points = sum(len(item.series) for item in self._waiting)
        return self._ingress.busy and points < self._batch_points and not self._closing

    def _nudge(self) -> None:
        with self._lock:
            if self._waiting:
                self._call_all()

    def _call_one(self) -> None:
        """An idle worker, the same one whenever it is: its caches are warm, and the others need no memory then."""
        idle = (worker for worker in self._workers if worker.busy_since is None)
        if worker := next(idle, None):
            worker.work.notify()

    def _call_all(self) -> None:
        for worker in self._workers:
            worker.work.notify()

    def _end(self, batch: list[WorkItem], error: BaseException) -> None:
        """The thread ends here: nobody may wait for it in vain."""
        log.critical("the inference thread has ended", exc_info=error)
        with self._lock:
            self._closing = True
            left, self._waiting = batch + self._waiting, []
            self._call_all()
        for item in left:
            give_up(item.future, ModelFailed("the inference thread has ended"))

    @staticmethod
    def _starts(item: WorkItem) -> bool:
        if not item.present():
            item.future.cancel()
        return not item.future.done()

    def _take(self) -> list[WorkItem]:
        """The batch that holds the oldest item when what waits is split as cheaply as possible.

        It takes no more than a worker's fair share of all that waits and runs: otherwise, once one worker runs a single
        series and another one all the rest, they would go on like that for ever.
        """
        oldest = self._waiting[0]
        compatible = [item for item in self._waiting if item.group == oldest.group][:MAX_SCAN]
        compatible.sort(key=lambda item: len(item.series))
        own = compatible.index(oldest)
        spans = split([len(item.series) for item in compatible], self._batch_points)
        low, high = next((low, high) for low, high in spans if low <= own < high)
        here = len(self._waiting) + sum(worker.size for worker in self._workers)
        share = -(-here // len(self._workers))
        low = max(low, min(low + (own - low) // share * share, high - share))
        taken = compatible[low : min(low + share, high)]
        chosen = set(map(id, taken))
        self._waiting = [item for item in self._waiting if id(item) not in chosen]
        return taken
