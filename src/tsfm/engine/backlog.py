"""What waits for the model, and the rule by which the next batch is taken from it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from tsfm.engine.planner import chunks, split
from tsfm.engine.work import WorkItem

# Queued items among which the best batch is searched; the time for the search grows with the square of this number.
MAX_SCAN = 128
# Batches of other items that run before the next one of a request of many series.
MOST_BEFORE = 2
# Batches of large requests in a row after which nobody else seems to ask: they may be larger then.
CALM = 8


LargeRequest = deque[list[WorkItem]]
"""The batches of one request that wait."""


class Backlog:
    """Items of small requests, which share batches, and large requests, each cut into batches beforehand.

    A large request takes its turn when nothing else waits, or after ``MOST_BEFORE`` batches of other items; several
    of them take turns. So a single series beside a large request waits for the batch that runs, and seldom for one
    more. It shares the CPUs with the batch after that: the batches of all workers together are as large as one while
    nothing comes in between, and half as large after something has. The caller holds a lock.

    Args:
        batch_points: size of the largest batch: its longest context times its number of series.
        workers: batches that may run at once.
        alone: a large request need not leave room for others.

    Attributes:
        waiting: items of small requests, oldest first.
    """

    def __init__(self, batch_points: int, workers: int, alone: bool = False) -> None:
        self.waiting: list[WorkItem] = []
        self._batch_points = batch_points
        self._workers = workers
        self._alone = alone
        self._large: deque[LargeRequest] = deque()
        self._before = 0  # batches of other items since the last one of a large request
        self._calm = 0  # batches of large requests since the last one of other items

    def __bool__(self) -> bool:
        return bool(self.waiting or self._large)

    @property
    def length(self) -> int:
        """Number of items that wait."""
        large = list(self._large)  # other threads ask without the lock
        return len(self.waiting) + sum(len(chunk) for request in large for chunk in list(request))

    def add_many(self, items: Sequence[WorkItem], request: LargeRequest | None = None) -> None:
        """Add items of one request; a request that fits into one batch waits like single items.

        Args:
            request: what was added of the same request and still waits; None: these are all its items.
        """
        longest = max((len(item.series) for item in items), default=0)
        if request is None and longest * len(items) <= self._batch_points:
            self.waiting.extend(items)
            return
        request = LargeRequest() if request is None else request
        continues = bool(request)
        request.extend(chunks(items, self._most_points(calm=True)))
        if request and not continues:
            self._large.append(request)

    def take(self, running: int) -> list[WorkItem]:
        """Take out the next batch; something waits.

        Args:
            running: items in the batches that run.
        """
        if self._large and (not self.waiting or self._before >= MOST_BEFORE):
            self._before = 0
            self._calm += 1
            return self._take_chunk()
        self._before += 1
        self._calm = 0
        return self._take_waiting(running)

    def clear(self) -> list[WorkItem]:
        """Take out everything."""
        left = [*self.waiting, *(item for request in self._large for chunk in request for item in chunk)]
        self.waiting = []
        self._large.clear()
        return left

    def _most_points(self, calm: bool) -> int:
        """Size of the largest batch of a large request."""
        return self._batch_points // (1 if self._alone else self._workers if calm else 2 * self._workers)

    def _take_chunk(self) -> list[WorkItem]:
        request = self._large.popleft()
        chunk = request.popleft()
        # Small ones at the end as well, so that no worker is left without one for long.
        calm = self._calm > CALM and len(request) > self._workers
        most = max(1, self._most_points(calm) // max(1, len(chunk[0].series)))
        if len(chunk) > most:
            request.appendleft(chunk[most:])
        if request:
            self._large.append(request)
        return chunk[:most]

    def _take_waiting(self, running: int) -> list[WorkItem]:
        """Take the batch of the oldest item out of the cheapest split of the queue.

        A batch is at most a worker's fair share of all items that wait or run. Without that bound two workers could
        stay unbalanced for ever, with a single series on one and all others on the other.
        """
        oldest = self.waiting[0]
        compatible = [item for item in self.waiting if item.group == oldest.group][:MAX_SCAN]
        compatible.sort(key=lambda item: len(item.series))
        own = compatible.index(oldest)
        spans = split([len(item.series) for item in compatible], self._batch_points)
        low, high = next((low, high) for low, high in spans if low <= own < high)
        share = -(-(len(self.waiting) + running) // self._workers)
        low = max(low, min(low + (own - low) // share * share, high - share))
        batch = compatible[low : min(low + share, high)]
        chosen = set(map(id, batch))
        self.waiting = [item for item in self.waiting if id(item) not in chosen]
        return batch
