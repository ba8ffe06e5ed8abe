"""One thread for the whole edge: it reads what has come, runs the requests and sends the answers.

Only the model's arithmetic is done elsewhere. To hand each request to another thread and back cost more than to read
it: Python runs one thread at a time, and on few CPUs each hand-over is a wait.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from waitress.server import BaseWSGIServer
from waitress.wasyncore import poll2

from tsfm.engine.ingress import Ingress

if TYPE_CHECKING:
    from tsfm.http.auth import Access
    from tsfm.http.transport.channel import Channel

log = logging.getLogger(__name__)
# So long POSTs may be run without a look for what else has come, above all for a GET.
TURN_S = 0.002
IDLE_S = 1.0  # connections that are overdue are looked for that often
# When there may be no further connection, those that keep their places with nothing to do have less time.
PRESSED_S = 5.0
# From networks that may ask for nothing but the open paths: a probe is done in a moment.
STRANGERS, STRANGER_S = 32, 5.0


class Loop:
    """waitress's loop over its sockets, and in place of its threads (waitress.task.ThreadedTaskDispatcher).

    Args:
        ingress: told which POSTs are left to be run.
        access: who may ask; None: everyone.

    Attributes:
        sockets: for waitress's ``map``; without any the loop ends.
    """

    def __init__(self, ingress: Ingress, access: Access | None = None) -> None:
        self.sockets: dict[int, object] = {}
        self._ingress = ingress
        self._quick: deque[Channel] = deque()  # all but POSTs take next to nothing and go first
        self._posts: deque[Channel] = deque()
        ingress.queued = self._posts
        self._thread = 0
        self._woken = False
        self._access = access
        self._looked_s = 0.0

    def attach(self, server: BaseWSGIServer) -> None:
        """The server whose sockets these are; it was made with this loop as its dispatcher."""
        self._server = server
        server.pull_trigger = self.wake  # a channel says so that it has changed
        server.handle_accept = self.accept
        server.maintenance = lambda now: None  # in the midst of poll2, where no connection can be closed at once
        server.access = self._access

    def run(self) -> None:
        """Serve on the calling thread until no socket is left."""
        self._thread = threading.get_ident()
        while self.sockets:
            self._end_overdue()
            # What can be read by now belongs to what was run just before: ask once more, without waiting.
            poll2(0 if self._ingress.busy or self._quick else IDLE_S, self.sockets)
            self._woken = False
            self._ingress.gone()
            self.turn()

    def turn(self) -> None:
        """Run what is queued: all that is quick, and POSTs for ``TURN_S``, at least one."""
        for _ in range(len(self._quick)):
            self._serve(self._quick.popleft())
        ends = time.monotonic() + TURN_S
        while self._posts:
            self._ingress.ran()
            self._serve(self._posts.popleft())
            if time.monotonic() >= ends:
                return

    def accept(self) -> None:
        """Take in all who have connected by now; waitress would take one, and run its request before the next."""
        channels, before = self._server.active_channels, -1
        while before < len(channels) < self._server.adj.connection_limit:
            before = len(channels)
            BaseWSGIServer.handle_accept(self._server)
        if self._access:
            strangers = [channel for channel in channels.values() if channel.stranger]
            for channel in strangers[:-STRANGERS]:  # the oldest ones
                channel.handle_close()

    def add_task(self, channel: Channel) -> None:
        """A channel has a request to be run, or to be run on; from any thread."""
        if channel.requests[0].command == "POST":
            self._posts.append(channel)
        else:
            self._quick.append(channel)
        self.wake()

    def wake(self) -> None:
        """Have the loop look at everything anew; from any thread. Nothing to do from its own, or when it has ended."""
        if self.sockets and not self._woken and threading.get_ident() != self._thread:
            self._woken = True
            self._server.trigger.pull_trigger()

    def healthy(self, timeout_s: float) -> bool:
        """The loop comes round within that time."""
        round_come = threading.Event()
        self._server.trigger.pull_trigger(round_come.set)
        return round_come.wait(timeout_s)

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
