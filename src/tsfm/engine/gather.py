"""The outputs of a request of many series, gathered into one future; a series that fails does so alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, cast

from tsfm.engine.pending import finish
from tsfm.engine.work import Known, Part, WorkItem
from tsfm.errors import DeadlinePassed, ModelFailed, RequestError, TsfmError

Outcome = object
"""The output for one series, or the ``RequestError`` that it failed with."""


class Gathered:
    """Outputs in the order of their series, from the moment when the last one is known.

    The step from the model's output to the unit of the request runs on the inference thread that computed it.

    Args:
        count: series in the request, at least one.
        present: False once the client has closed its connection.

    Attributes:
        future: of the list of outcomes. When it is done before its time, as at the deadline, what still waits for
            the model is not computed.
    """

    def __init__(self, count: int, present: Callable[[], bool]) -> None:
        self.future: Future[list[Outcome]] = Future()
        self._present = present
        self._outcomes: list[Outcome] = [None] * count
        self._lock = threading.Lock()
        self._next, self._left = 0, count

    def add(self, parts: Sequence[Part]) -> list[WorkItem]:
        """Take the next parts, and return those that the model has to compute."""
        items = []
        for part in parts:
            at, self._next = self._next, self._next + many(part)
            if isinstance(part, WorkItem):
                part.present = self._needed
                # Not the item itself: it would hold itself until a search for garbage, and all of the request with it.
                part.future.add_done_callback(partial(self._take, at, part.restore, part.outcomes))
                items.append(part)
            else:
                self._set(at, [part.output if isinstance(part, Known) else part])
        return items

    def _needed(self) -> bool:
        return not self.future.done() and self._present()

    def _take(self, at: int, restore: Callable[[Any], object], outcomes: int | None, future: Future[object]) -> None:
        count = outcomes or 1
        if self.future.done():
            self._set(at, [None] * count)
            return
        outcome = _outcome(restore, future)
        joint = outcomes and not isinstance(outcome, RequestError)
        self._set(at, cast(list[Outcome], outcome) if joint else [outcome] * count)

    def _set(self, at: int, outcomes: Sequence[Outcome]) -> None:
        self._outcomes[at : at + len(outcomes)] = outcomes
        with self._lock:
            self._left -= len(outcomes)
            last = not self._left
        if last:
            finish(self.future, self._outcomes)


def many(part: Part) -> int:
    """Number of outcomes that a part stands for."""
    return (part.outcomes or 1) if isinstance(part, WorkItem) else 1


def _outcome(restore: Callable[[Any], object], future: Future[object]) -> object:
    try:
        return restore(future.result())
    except CancelledError:
        return DeadlinePassed("the client has closed its connection")
    except RequestError as refused:
        return refused.with_traceback(None)  # whose frames hold the future, which holds it
    except TsfmError as failed:
        return ModelFailed(str(failed))
