"""Whether requests that have come are just being read, checked or answered: whoever batches may wait for those."""

from __future__ import annotations

from collections.abc import Callable


class Arrivals:
    """A flag, and a call when it goes down.

    Attributes:
        busy: there is work at the edge that is done soon; none of it waits for the model.
        when_none: called, on the thread of the edge, each time that there is none left.
    """

    def __init__(self) -> None:
        self.busy = False
        self.when_none: Callable[[], object] = lambda: None

    def came(self) -> None:
        """There is something to do."""
        self.busy = True

    def gone(self) -> None:
        """All of it is done."""
        if self.busy:
            self.busy = False
            self.when_none()
