"""One inference thread: what it runs, since when, and whether it still answers."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass


@dataclass(eq=False)
class Worker:
    """One inference thread.

    Attributes:
        work: notified when an idle worker has something to do.
        busy_since: start of its current batch; None: it is idle.
        size: number of series in its current batch.
        pulse: the last health check that it answered.
        last_s: seconds that its last batch took.
    """

    thread: threading.Thread
    work: threading.Condition
    busy_since: float | None = None
    size: int = 0
    pulse: int = 0
    last_s: float = 0.0

    def becomes_idle(self) -> None:
        """Its batch has ended."""
        if self.busy_since is not None:
            self.last_s = time.monotonic() - self.busy_since
        self.busy_since, self.size = None, 0

    def stuck(self, stall_s: float) -> bool:
        """The thread has ended, or its batch is older than ``stall_s``."""
        since = self.busy_since
        return not self.thread.is_alive() or (since is not None and time.monotonic() - since >= stall_s)
