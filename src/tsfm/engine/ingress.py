"""Tracks requests at the edge that are about to bring work for the model: a batch may wait for those."""

from __future__ import annotations

from collections.abc import Callable, Sized


class Ingress:
    """What is queued at the edge, and a call when the edge has run all of it.

    There is no flag that says "busy" beside the queue: another thread may queue a request at any moment, and a flag
    that is cleared just then would deny it.

    Attributes:
        queued: requests that have come and have not been run yet; set by the edge.
        when_none: called, on the edge's thread, each time that it has run all that had come.
    """

    def __init__(self) -> None:
        self.queued: Sized = ()
        self.when_none: Callable[[], object] = lambda: None
        self._ran = False  # the edge's thread alone reads and sets it

    @property
    def busy(self) -> bool:
        """Some requests have come and are done soon; none of them waits for the model."""
        return self._ran or len(self.queued) > 0

    def ran(self) -> None:
        """The edge has run a request: until it has looked for the next one, it counts as busy."""
        self._ran = True

    def gone(self) -> None:
        """The edge has looked for further requests and found none."""
        if self._ran and not self.queued:
            self._ran = False
            self.when_none()
