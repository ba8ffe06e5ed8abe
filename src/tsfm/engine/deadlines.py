"""One thread that gives up on answers whose time has passed, so that none is needed for each request."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, TypeVar

from tsfm.errors import DeadlinePassed

T = TypeVar("T")


class Deadlines:
    """Ends futures that are late with ``DeadlinePassed``.

    Args:
        allowed_s: what each had at first, for the sentence.
    """

    def __init__(self, allowed_s: float) -> None:
        self._allowed_s = allowed_s
        self._sentence = f"no answer within {allowed_s:g} s"
        self._open: dict[Future[Any], float] = {}  # the earliest deadline first: all are given the same time
        self._changed = threading.Condition()
        self._wakes = 0.0  # when the thread will look again by itself
        self._closing = False
        threading.Thread(target=self._loop, name="deadlines", daemon=True).start()

    def watch(self, future: Future[Any], deadline: float) -> None:
        """End it at ``deadline`` (of ``time.monotonic``) unless it is done by then."""
        with self._changed:
            self._open[future] = deadline
            if deadline < self._wakes:  # seldom: one who waits for no later one is not woken by each request
                self._changed.notify()
        future.add_done_callback(self._forget)

    def close(self) -> None:
        """End the thread; what is still open then has no deadline any more."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def _forget(self, future: Future[Any]) -> None:
        with self._changed:
            self._open.pop(future, None)

    def _loop(self) -> None:
        while (late := self._wait()) is not None:
            give_up(late, DeadlinePassed(self._sentence))

    def _wait(self) -> Future[Any] | None:
        """The next one that is late; None: there will be none."""
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


def finish(future: Future[T], result: T) -> None:
    """Succeed, unless it is done."""
    with suppress(InvalidStateError):
        future.set_result(result)


def give_up(future: Future[Any], error: Exception) -> None:
    """Fail it, unless it is done."""
    with suppress(InvalidStateError):
        future.set_exception(error)
