"""Admission: how many requests may be inside, how many bytes they may hold together, and for how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar

from tsfm.engine.pending import Pending, give_up
from tsfm.engine.work import always
from tsfm.errors import DeadlinePassed, QueueFull
from tsfm.settings import Settings

T = TypeVar("T")
SMALL_ANSWER = 1 << 20  # bytes; smaller ones are not counted


class Slot:
    """The place of one request among those inside; it is given back when the request's answer is there.

    Used as a context: an exception gives the place back at once.

    Attributes:
        body_bytes: size of the request's body.
        deadline: when the answer is given up, of ``time.monotonic``.
        present: False once the client has closed its connection.
        answer_bytes: size of its answer by estimate, of a request of many series.
        reserved_bytes: the same, if it counts as a large one.
        inside: False once it has been given back.
    """

    def __init__(self, admission: Admission, body_bytes: int, deadline: float, present: Callable[[], bool]) -> None:
        self._admission = admission
        self.body_bytes = body_bytes
        self.deadline = deadline
        self.present = present
        self.answer_bytes = self.reserved_bytes = 0
        self.inside = True

    def watch(self, future: Future[T]) -> Future[T]:
        """The same future, which fails with ``DeadlinePassed`` at the deadline unless it is done by then."""
        self._admission.deadlines.watch(future, self.deadline)
        return future

    def expect(self, answer_bytes: int) -> None:
        """Reserve memory for an answer of this size, until the place is given back; after that it counts as unread.

        Raises:
            QueueFull: large answers that are being made or read use the memory that there is for them.
        """
        self.answer_bytes = answer_bytes
        if answer_bytes > SMALL_ANSWER:
            self._admission.reserve(self, answer_bytes)

    def hold(self, pending: Pending[T]) -> Pending[T]:
        """Keep the place until the answer is there."""
        pending.future.add_done_callback(lambda _: self._admission.leave(self))
        return pending

    def grow(self, body_bytes: int) -> None:
        """Count the body as so many bytes from now on, as when it has been unpacked; it never counts as fewer.

        Raises:
            QueueFull: with the other bodies inside it is too large.
        """
        self._admission.grow(self, body_bytes)

    def __enter__(self) -> Slot:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            self._admission.leave(self)


class Admission:
    """Counts the requests inside and their bytes; safe to call from many threads.

    Args:
        limits: ``queue``, ``queue_mib`` and ``deadline_s`` are used.
        check: raises, under the same lock as the count, when no request may enter at all.
        unread: bytes of answers that clients have not read yet.
    """

    def __init__(self, limits: Settings, check: Callable[[], None], unread: Callable[[], int] = lambda: 0) -> None:
        self._limits = limits
        self._check = check
        self._unread = unread
        self._reserved_bytes = 0
        self._inside = 0
        self._bytes_inside = 0
        self._changed = threading.Condition()
        self.deadlines = Deadlines(limits.deadline_s)

    def enter(self, body_bytes: int, present: Callable[[], bool] = always) -> Slot:
        """Let one request in, or refuse it at once.

        Raises:
            QueueFull, NotReady
        """
        limits = self._limits
        with self._changed:
            self._check()
            if self._inside >= limits.queue:
                raise QueueFull(f"queue full (queue = {limits.queue}); retry in {QueueFull.retry_after_s} s")
            self._check_bytes(self._inside, body_bytes)
            self._inside += 1
            self._bytes_inside += body_bytes
        return Slot(self, body_bytes, time.monotonic() + float(limits.deadline_s), present)

    def reserve(self, slot: Slot, answer_bytes: int) -> None:
        """Count the bytes of a large answer; they have a budget of their own, as large as that of the bodies.

        Raises:
            QueueFull
        """
        unread = self._unread()
        with self._changed:
            used = self._reserved_bytes + unread
            if used and used + answer_bytes > self._limits.queue_mib << 20:
                raise QueueFull(
                    f"too many large answers are being made or read (queue_mib = {self._limits.queue_mib} MiB); "
                    f"retry in {QueueFull.retry_after_s} s"
                )
            slot.reserved_bytes = answer_bytes
            self._reserved_bytes += answer_bytes

    def grow(self, slot: Slot, body_bytes: int) -> None:
        """See ``Slot.grow``."""
        with self._changed:
            more = max(0, body_bytes - slot.body_bytes) if slot.inside else 0
            self._check_bytes(self._inside - 1, more)
            self._bytes_inside += more
            slot.body_bytes += more

    def _check_bytes(self, others: int, more: int) -> None:
        limits = self._limits
        if others and self._bytes_inside + more > limits.queue_mib << 20:
            raise QueueFull(
                f"too many request bodies in flight (queue_mib = {limits.queue_mib} MiB); "
                f"retry in {QueueFull.retry_after_s} s"
            )

    def leave(self, slot: Slot) -> None:
        """Give a place back; once for each slot."""
        with self._changed:
            slot.inside = False
            self._inside -= 1
            self._bytes_inside -= slot.body_bytes
            self._reserved_bytes -= slot.reserved_bytes
            self._changed.notify_all()

    def wait_until_empty(self, timeout_s: float) -> bool:
        """Wait for the requests inside; True when none is left."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._inside, timeout_s)

    def close(self) -> None:
        """End the thread that watches the deadlines."""
        self.deadlines.close()


class Deadlines:
    """One thread for all requests that fails late futures with ``DeadlinePassed``.

    Args:
        allowed_s: the time that each request had, for the sentence.
    """

    def __init__(self, allowed_s: float) -> None:
        self._allowed_s = allowed_s
        self._sentence = f"no answer within {allowed_s:g} s"
        self._open: dict[Future[Any], float] = {}  # the earliest deadline first: all have the same time
        self._changed = threading.Condition()
        self._wakes = 0.0  # when the thread will look again by itself
        self._closing = False
        threading.Thread(target=self._loop, name="deadlines", daemon=True).start()

    def watch(self, future: Future[Any], deadline: float) -> None:
        """Fail it at ``deadline`` (of ``time.monotonic``) unless it is done by then."""
        with self._changed:
            self._open[future] = deadline
            if deadline < self._wakes:  # seldom: a thread that waits for a sooner one is not woken by each request
                self._changed.notify()
        future.add_done_callback(self._remove)

    def close(self) -> None:
        """End the thread; futures that are still open then have no deadline any more."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def _remove(self, future: Future[Any]) -> None:
        with self._changed:
            self._open.pop(future, None)

    def _loop(self) -> None:
        while (late := self._wait()) is not None:
            give_up(late, DeadlinePassed(self._sentence))

    def _wait(self) -> Future[Any] | None:
        """The next late future; None: the thread is to end."""
        with self._changed:
            while not self._closing:
                now = time.monotonic()
                future, deadline = next(iter(self._open.items()), (None, now + self._allowed_s))
                if future and deadline <= now:
                    del self._open[future]
                    return future
                self._wakes = deadline
                self._changed.wait(deadline - now)
        return None
