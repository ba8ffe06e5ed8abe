"""Inference threads that take what is queued when the model is free: no timer, no waiting for a batch to fill.

Knows neither HTTP nor any model: it runs groups of jobs through whatever ``Ask`` says.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from tsfm.engine.deadlines import give_up
from tsfm.engine.ingress import Arrivals
from tsfm.engine.planner import split
from tsfm.engine.work import Job, run
from tsfm.errors import ModelFailed, NotReady

log = logging.getLogger(__name__)
# As far as the queue is looked at for the best batch; the time for that grows with the square.
CONSIDERED = 128
# The most that a batch waits for requests that have come but are still being read, seconds.
PATIENCE_S = 0.1


def as_it_is(threads: int) -> None:
    """The model's arithmetic has no threads to be set."""


@dataclass(eq=False)
class Lane:
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


class Batcher:
    """Runs jobs in batches of similar length, on one thread or, each its own batch, on several.

    Two batches on one CPU each are done sooner than both on two CPUs, one after the other: the threads of a small
    product wait for one another longer than it takes. A batch that has nobody beside it gets all CPUs.

    Args:
        batch_points: largest batch: its longest context times its number of series.
        observe: told the size of each batch that ran.
        lanes: batches that may run at once.
        threads: CPU threads for all of them together.
        use_threads: sets how many of those the calling thread's arithmetic uses.
        arrivals: requests at the edge, which may be about to bring jobs: a batch waits for those that have come, as
            long as the batch before it took and at most ``PATIENCE_S``. For others it never waits.
        tidy: called after a batch when nothing waits.

    Attributes:
        threads_alone: the most threads for a batch of a single series.
    """

    def __init__(
        self,
        batch_points: int,
        observe: Callable[[int], object],
        lanes: int = 1,
        threads: int = 1,
        use_threads: Callable[[int], object] = as_it_is,
        arrivals: Arrivals | None = None,
        tidy: Callable[[], object] = lambda: None,
    ) -> None:
        self._batch_points = batch_points
        self._observe = observe
        self._threads = self.threads_alone = threads
        self._use_threads = use_threads
        self._tidy = tidy
        self._patience_s = PATIENCE_S
        self._arrivals = arrivals or Arrivals()
        self._arrivals.when_none = self._nudge
        self._waiting: list[Job] = []
        self._lock = threading.Lock()
        self._answered = threading.Condition(self._lock)  # who asks for their health waits for it
        self._closing = False
        self._pulse = 0
        self._lanes: list[Lane] = []
        for number in range(lanes):
            thread = threading.Thread(target=self._loop, args=[number], name=f"inference-{number}", daemon=True)
            self._lanes.append(Lane(thread, threading.Condition(self._lock)))
        for lane in self._lanes:
            lane.thread.start()

    def submit(self, job: Job) -> Future[object]:
        """Queue a job; cancel its future to take it back: while it waits, it is not computed then."""
        with self._lock:
            if self._closing:
                raise NotReady("the service is stopping")
            self._waiting.append(job)
            self._call_one()
        return job.future

    def close(self, timeout_s: float | None = None) -> None:
        """Answer what is queued, then end the threads; wait at most ``timeout_s`` for all of them together."""
        with self._lock:
            self._closing = True
            self._call_all()
        ends = None if timeout_s is None else time.monotonic() + timeout_s
        for lane in self._lanes:
            lane.thread.join(None if ends is None else max(0.0, ends - time.monotonic()))

    def healthy(self, stall_s: float) -> bool:
        """Every thread takes up work when idle, and no present batch is older than ``stall_s``."""
        with self._lock:
            self._pulse += 1
            self._call_all()
            answered = self._answered.wait_for(self._all_answered, stall_s)
        return answered and not self.stuck(stall_s)

    def stuck(self, stall_s: float) -> bool:
        """A thread has ended, or its present batch is older than ``stall_s``; told at once."""
        return any(lane.stuck(stall_s) for lane in self._lanes)

    @property
    def length(self) -> int:
        """Jobs that wait."""
        return len(self._waiting)

    def _all_answered(self) -> bool:
        return all(lane.busy_since is not None or lane.pulse == self._pulse for lane in self._lanes)

    def _loop(self, number: int) -> None:
        lane = self._lanes[number]
        while (taken := self._next(lane)) is not None:
            batch, threads = taken
            # A job whose client gave up (or left) is dropped here, before it costs anything.
            batch = [job for job in batch if self._starts(job)]
            if batch:
                self._observe(len(batch))
                self._use_threads(threads)
                try:
                    run(batch)
                except BaseException as error:  # noqa: BLE001  sys.exit in a model package
                    self._end(batch, error)
                    return
                if not self._waiting:
                    self._tidy()

    def _next(self, lane: Lane) -> tuple[list[Job], int] | None:
        """Wait for a batch and the number of threads it may use; None: there will be none."""
        with self._lock:
            lane.rests()
            while not self._waiting and not self._closing:
                lane.pulse = self._pulse
                self._answered.notify_all()
                lane.work.wait()
            ends = time.monotonic() + min(lane.last_s, self._patience_s)
            while self._worth_waiting() and (left := ends - time.monotonic()) > 0:
                lane.work.wait(left)
            if not self._waiting:
                return None if self._closing else ([], 1)
            lane.busy_since = time.monotonic()
            batch = self._take()
            lane.size = len(batch)
            idle = sum(other.busy_since is None for other in self._lanes)
            busy = len(self._lanes) - idle
            if idle and self._waiting:
                self._call_one()
                busy += 1
            threads = max(1, self._threads // busy)
            return batch, threads if len(batch) > 1 else min(threads, self.threads_alone)

    def _worth_waiting(self) -> bool:
        """Somebody who has come may still join, and there is room."""
        points = sum(len(job.series) for job in self._waiting)
        return self._arrivals.busy and points < self._batch_points and not self._closing

    def _nudge(self) -> None:
        with self._lock:
            if self._waiting:
                self._call_all()

    def _call_one(self) -> None:
        """An idle lane, the same one whenever it is: its caches are warm, and the others need no memory then."""
        idle = (lane for lane in self._lanes if lane.busy_since is None)
        if lane := next(idle, None):
            lane.work.notify()

    def _call_all(self) -> None:
        for lane in self._lanes:
            lane.work.notify()

    def _end(self, batch: list[Job], error: BaseException) -> None:
        """The thread ends here: nobody may wait for it in vain."""
        log.critical("the inference thread has ended", exc_info=error)
        with self._lock:
            self._closing = True
            left, self._waiting = batch + self._waiting, []
            self._call_all()
        for job in left:
            give_up(job.future, ModelFailed("the inference thread has ended"))

    @staticmethod
    def _starts(job: Job) -> bool:
        if not job.wanted():
            job.future.cancel()
        return not job.future.done()

    def _take(self) -> list[Job]:
        """The batch that holds the oldest job when what waits is split as cheaply as possible.

        It takes no more than a lane's fair share of all that waits and runs: else, once one lane runs a single series
        and another all the rest, they go on so for ever.
        """
        oldest = self._waiting[0]
        mates = [job for job in self._waiting if job.group == oldest.group][:CONSIDERED]
        mates.sort(key=lambda job: len(job.series))
        own = mates.index(oldest)
        spans = split([len(job.series) for job in mates], self._batch_points)
        low, high = next((low, high) for low, high in spans if low <= own < high)
        here = len(self._waiting) + sum(lane.size for lane in self._lanes)
        share = -(-here // len(self._lanes))
        low = max(low, min(low + (own - low) // share * share, high - share))
        taken = mates[low : min(low + share, high)]
        chosen = set(map(id, taken))
        self._waiting = [job for job in self._waiting if id(job) not in chosen]
        return taken
