"""The outputs of a request of many series, gathered into one future; a series that fails does so alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from functools import partial

from tsfm.engine.pending import finish
from tsfm.engine.work import Known, WorkItem
from tsfm.errors import DeadlinePassed, ModelFailed, RequestError, TsfmError

Outcome = object
"""The output for one series, or the ``RequestError`` that it failed with."""


class Gathered:
    """Outputs in the order of their series, from the moment when the last one is known.

    The step from the model's output to the unit of the request runs on the inference thread that computed it.

    Attributes:
        future: of the list of outcomes. When it is done before its time, as at the deadline, what still waits for
            the model is not computed.
    """

    def __init__(self, parts: Sequence[WorkItem | Known | RequestError]) -> None:
        self.future: Future[list[Outcome]] = Future()
        self._outcomes: list[Outcome] = [part.output if isinstance(part, Known) else part for part in parts]
        self._lock = threading.Lock()
        self.items = {at: part for at, part in enumerate(parts) if isinstance(part, WorkItem)}
        self._left = len(self.items)

    def watch(self) -> None:
        """Gather what the items give; call it once they can be computed."""
        if not self.items:
            finish(self.future, self._outcomes)
        for at, item in self.items.items():
            item.future.add_done_callback(partial(self._take, at, item))

    def _take(self, at: int, item: WorkItem, future: Future[object]) -> None:
        self._outcomes[at] = None if self.future.done() else _outcome(item, future)
        with self._lock:
            self._left -= 1
            last = not self._left
        if last:
            finish(self.future, self._outcomes)


def _outcome(item: WorkItem, future: Future[object]) -> Outcome:
    try:
        return item.restore(future.result())
    except CancelledError:
        return DeadlinePassed("the client has closed its connection")
    except RequestError as error:
        return error
    except TsfmError as error:
        return ModelFailed(str(error))
