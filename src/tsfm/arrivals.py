"""How many requests have come and are just being read, checked or answered: whoever batches may wait for those."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Arrivals:
    """A count, and a call when it comes to nothing.

    Attributes:
        count: pieces of work at the edge that are done soon; none of them waits for the model.
        when_none: called, on whatever thread was the last, each time that there are none left.
    """

    def __init__(self) -> None:
        self.count = 0
        self.when_none: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        self._here = threading.local()

    def came(self) -> None:
        """One more is there, for any thread to take up."""
        with self._lock:
            self.count += 1

    def taken_up(self) -> None:
        """The calling thread works on one from now on."""
        self._here.works = True

    def gone(self) -> None:
        """The one that the calling thread works on, if any, is waited for no more."""
        if not getattr(self._here, "works", False):
            return
        self._here.works = False
        with self._lock:
            self.count -= 1
            none = not self.count
        if none:
            self.when_none()
