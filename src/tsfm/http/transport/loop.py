"""The event loop: one thread reads requests, runs the app and sends the answers.

Only the model computes elsewhere. Handing each request to another thread and back costs more than reading it: Python
runs one thread at a time, and on few CPUs each hand-over is a wait.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from waitress.wasyncore import poll2

from tsfm.engine.ingress import Ingress

if TYPE_CHECKING:
    from tsfm.http.transport.channel import Channel
    from tsfm.http.transport.listener import Listener

log = logging.getLogger(__name__)
# POSTs may run for this long before the loop looks for new input, above all for a GET.
TURN_S = 0.002
IDLE_S = 1.0  # interval of the search for connections that are overdue
PRESSED_S = 5.0  # the time limit of an idle connection when there is no room for another one
STRANGER_S = 5.0  # the same for clients that may use the open paths only


class Loop:
    """Runs waitress's sockets, and takes the place of its threads (``waitress.task.ThreadedTaskDispatcher``).

    Args:
        ingress: is told which POSTs have been read and wait to be run.

    Attributes:
        sockets: waitress's ``map`` of file descriptors; the loop ends when it is empty.
    """

    def __init__(self, ingress: Ingress) -> None:
        self.sockets: dict[int, object] = {}
        self._ingress = ingress
        self._quick: deque[Channel] = deque()  # everything but POSTs: it takes next to no time and goes first
        self._posts: deque[Channel] = deque()
        ingress.queued = self._posts
        self._thread = 0
        self._woken = False
        self._looked_s = 0.0

    def attach(self, server: Listener) -> None:
        """Set the server whose sockets these are; it was made with this loop as its dispatcher."""
        self._server = server

    def run(self) -> None:
        """Serve on the calling thread until no socket is left."""
        self._thread = threading.get_ident()
        while self.sockets:
            self._end_overdue()
            # Input that is there by now belongs to what ran just before: ask once more, without waiting.
            poll2(0 if self._ingress.busy or self._quick else IDLE_S, self.sockets)
            self._woken = False
            self._ingress.gone()
            self.turn()

    def turn(self) -> None:
        """Run what is queued: everything that is quick, then POSTs for ``TURN_S``, at least one."""
        for _ in range(len(self._quick)):
            self._serve(self._quick.popleft())
        ends = time.monotonic() + TURN_S
        while self._posts:
            self._ingress.ran()
            self._serve(self._posts.popleft())
            if time.monotonic() >= ends:
                return

    def add_task(self, channel: Channel) -> None:
        """Queue a channel whose oldest request can be run, or continued; callable from any thread."""
        if channel.requests[0].command == "POST":
            self._posts.append(channel)
        else:
            self._quick.append(channel)
        self.wake()

    def wake(self) -> None:
        """Make the loop look at all its sockets again; callable from any thread.

        From the loop's own thread, and after its end, there is nothing to do.
        """
        if self.sockets and not self._woken and threading.get_ident() != self._thread:
            self._woken = True
            self._server.trigger.pull_trigger()

    def _end_overdue(self) -> None:
        """Close, once a second, each connection whose client keeps it in one state for too long."""
        now, adj = time.monotonic(), self._server.adj
        if now - self._looked_s < IDLE_S:
            return
        self._looked_s = now
        full = len(self.sockets) >= adj.connection_limit
        for channel in list(self._server.active_channels.values()):
            limit_s = STRANGER_S if channel.stranger else PRESSED_S if full else adj.channel_timeout
            if channel.overdue(now, min(limit_s, adj.channel_timeout)):
                channel.handle_close()

    @staticmethod
    def _serve(channel: Channel) -> None:
        try:
            channel.service()
        except Exception:
            log.exception("a connection failed")
            channel.will_close = True
