"""The scheduler: inference threads that take queued items as soon as the model is free, without a timer.

It knows neither HTTP nor any model: it runs groups of work items through their ``Call``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from tsfm.engine.backlog import Backlog, LargeRequest
from tsfm.engine.ingress import Ingress
from tsfm.engine.pending import give_up
from tsfm.engine.work import WorkItem, run_batch
from tsfm.engine.worker import Worker
from tsfm.errors import ModelFailed, NotReady

log = logging.getLogger(__name__)
# The longest time that a batch waits for requests that have arrived and are still being parsed, seconds.
PATIENCE_S = 0.1


def no_threads(threads: int) -> None:
    """For models whose arithmetic has no thread count."""


class Scheduler:
    """Runs work items in batches of similar length, on one or more workers, each with a batch of its own.

    For small models two batches on one CPU each finish sooner than one after the other on two CPUs, because the
    threads of a small product spend most of their time synchronising. A batch that runs alone gets all CPUs.

    Args:
        batch_points: size of the largest batch: its longest context times its number of series.
        observe: called with the size of each batch that runs.
        workers: batches that may run at once.
        threads: CPU threads for all workers together.
        use_threads: sets the number of CPU threads for the calling thread's arithmetic.
        ingress: requests that are being parsed. A batch waits for those that have arrived, at most as long as the
            worker's previous batch took and at most ``PATIENCE_S``; it waits for nothing else.
        trim: called after a batch when the queue is empty. Where it gives a number of seconds, it is called again after
            these, if the queue is empty still.
        alone: a large request need not leave room for others, see ``Backlog``.

    Attributes:
        threads_alone: the largest number of CPU threads for a batch of a single series.
    """

    def __init__(
        self,
        batch_points: int,
        observe: Callable[[int], object],
        workers: int = 1,
        threads: int = 1,
        use_threads: Callable[[int], object] = no_threads,
        ingress: Ingress | None = None,
        trim: Callable[[], float | None] = lambda: None,
        alone: bool = False,
    ) -> None:
        self._batch_points = batch_points
        self._observe = observe
        self._threads = self.threads_alone = threads
        self._use_threads = use_threads
        self._trim = trim
        self._patience_s = PATIENCE_S
        self._ingress = ingress or Ingress()
        self._ingress.on_drained = self._notify_waiting
        self._backlog = Backlog(batch_points, workers, alone)
        self._lock = threading.Lock()
        self._answered = threading.Condition(self._lock)  # notified when a worker answers a health check, or is busy
        self._closing = self._broken = False
        self._pulse = 0
        self._workers: list[Worker] = []
        for number in range(workers):
            thread = threading.Thread(target=self._loop, args=[number], name=f"inference-{number}", daemon=True)
            self._workers.append(Worker(thread, threading.Condition(self._lock)))
        for worker in self._workers:
            worker.thread.start()

    def submit(self, item: WorkItem) -> Future[object]:
        """Queue an item. To take it back, cancel its future: an item that still waits is not computed then."""
        with self._lock:
            self._check_open()
            self._backlog.waiting.append(item)
            self._notify_one()
        return item.future

    def submit_many(self, items: Sequence[WorkItem], request: LargeRequest | None = None) -> None:
        """Queue items of one request, which leave room for other requests between their batches.

        Args:
            request: what more items of the same request are queued with; None: these are all.
        """
        with self._lock:
            self._check_open()
            self._backlog.add_many(items, request)
            self._notify_one()

    def _check_open(self) -> None:
        if self._closing:
            raise NotReady("the service is stopping")

    def close(self, timeout_s: float | None = None) -> None:
        """Run what is queued, then end the threads; wait at most ``timeout_s`` for all of them together."""
        with self._lock:
            self._closing = True
            self._notify_all()
        ends = None if timeout_s is None else time.monotonic() + timeout_s
        for worker in self._workers:
            worker.thread.join(None if ends is None else max(0.0, ends - time.monotonic()))

    def healthy(self, stall_s: float) -> bool:
        """Every idle worker answers within ``stall_s``, and no current batch is older than that."""
        with self._lock:
            self._pulse += 1
            self._notify_all()
            answered = self._answered.wait_for(self._all_answered, stall_s)
        return answered and not self.stuck(stall_s)

    def stuck(self, stall_s: float) -> bool:
        """A thread has ended, or its current batch is older than ``stall_s``; never waits."""
        return self._broken or any(worker.stuck(stall_s) for worker in self._workers)

    @property
    def length(self) -> int:
        """Number of items that wait."""
        return self._backlog.length

    def _all_answered(self) -> bool:
        return all(worker.busy_since is not None or worker.pulse == self._pulse for worker in self._workers)

    def _loop(self, number: int) -> None:
        worker, again_s = self._workers[number], None
        while (next_batch := self._next(worker, again_s)) is not None:
            batch, threads = next_batch
            # Items whose deadline has passed or whose client has disconnected are dropped before they cost anything.
            batch = [item for item in batch if self._still_needed(item)]
            if batch:
                self._observe(len(batch))
                self._use_threads(threads)
                try:
                    run_batch(batch)
                except BaseException as error:  # noqa: BLE001  sys.exit in a model package
                    self._end(batch, error)
                    return
            del next_batch, batch  # its memory, while the thread waits
            again_s = None if self._backlog else self._trim()

    def _next(self, worker: Worker, idle_s: float | None) -> tuple[list[WorkItem], int] | None:
        """Wait for a batch and the number of CPU threads it may use; None: the thread is to end.

        Args:
            idle_s: then there is no batch; None: wait for one as long as it takes.
        """
        with self._lock:
            worker.becomes_idle()
            ends = None if idle_s is None else time.monotonic() + idle_s
            while not self._backlog and not self._closing:
                worker.pulse = self._pulse
                self._answered.notify_all()
                if not worker.work.wait(None if ends is None else ends - time.monotonic()):
                    return [], 1
            ends = time.monotonic() + min(worker.last_s, self._patience_s)
            while self._worth_waiting() and (left := ends - time.monotonic()) > 0:
                worker.work.wait(left)
            if not self._backlog:
                return None if self._closing else ([], 1)
            worker.busy_since = time.monotonic()
            self._answered.notify_all()
            batch = self._backlog.take(sum(other.size for other in self._workers))
            worker.size = len(batch)
            idle = sum(other.busy_since is None for other in self._workers)
            busy = len(self._workers) - idle
            if idle and self._backlog:
                self._notify_one()
                busy += 1
            threads = max(1, self._threads // busy)
            alone = len(batch) == 1 and batch[0].outcomes is None  # a group is as large as many series
            return batch, min(threads, self.threads_alone) if alone else threads

    def _worth_waiting(self) -> bool:
        """A request that is being parsed may still join the batch, and the batch has room."""
        waiting = self._backlog.waiting
        points = sum(len(item.series) for item in waiting)
        return bool(waiting) and self._ingress.busy and points < self._batch_points and not self._closing

    def _notify_waiting(self) -> None:
        with self._lock:
            if self._backlog.waiting:
                self._notify_all()

    def _notify_one(self) -> None:
        """Notify the first idle worker: its caches are warm, and the others then need no memory."""
        idle = (worker for worker in self._workers if worker.busy_since is None)
        if worker := next(idle, None):
            worker.work.notify()

    def _notify_all(self) -> None:
        for worker in self._workers:
            worker.work.notify()

    def _end(self, batch: list[WorkItem], error: BaseException) -> None:
        """The thread ends: fail every item that would wait for it."""
        log.critical("the inference thread has ended", exc_info=error)
        with self._lock:
            self._closing = self._broken = True  # before anybody is answered, which is before the thread has ended
            left = batch + self._backlog.clear()
            self._notify_all()
        for item in left:
            give_up(item.future, ModelFailed("the inference thread has ended"))

    @staticmethod
    def _still_needed(item: WorkItem) -> bool:
        if not item.present():
            item.future.cancel()
        return not item.future.done()
