"""What the edge holds: requests that are being parsed, for which a batch may wait, and answers not yet read."""

from __future__ import annotations

from collections.abc import Callable, Sized


class Ingress:
    """The requests that the edge has received and not yet run, and a call when it has run all of them.

    A flag "busy" beside the queue would be wrong: another thread may queue a request at any moment, also just when
    the flag is cleared.

    Attributes:
        queued: requests that have arrived and have not been run yet; set by the edge.
        unread: bytes of answers that clients have not read yet; set by the edge.
        on_drained: called on the edge's thread each time it has run all requests that had arrived.
    """

    def __init__(self) -> None:
        self.queued: Sized = ()
        self.unread: Callable[[], int] = lambda: 0
        self.on_drained: Callable[[], object] = lambda: None
        self._ran = False  # written by the edge's thread alone

    @property
    def busy(self) -> bool:
        """Some requests have arrived and will reach the scheduler soon."""
        return self._ran or len(self.queued) > 0

    def ran(self) -> None:
        """The edge has run a request; it counts as busy until it has looked for the next one."""
        self._ran = True

    def drained(self) -> None:
        """The edge has looked for further requests and found none."""
        if self._ran and not self.queued:
            self._ran = False
            self.on_drained()
