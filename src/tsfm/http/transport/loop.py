"""The event loop and its listening socket: one thread accepts clients, reads requests, runs the app and answers.

Only the model computes elsewhere. Handing each request to another thread and back costs more than reading it: Python
runs one thread at a time, and on few CPUs each hand-over is a wait.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from waitress.server import TcpWSGIServer
from waitress.wasyncore import close_all, dispatcher, poll2

from tsfm.engine.ingress import Ingress
from tsfm.http.transport.channel import Channel, resumable

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from waitress.adjustments import Adjustments

    from tsfm.http.auth import Access
    from tsfm.http.transport.listener import Bounds

log = logging.getLogger(__name__)
# POSTs may run for this long before the loop looks for new input, above all for a GET.
TURN_S = 0.002
IDLE_S = 1.0  # interval of the search for connections that are overdue
PRESSED_S = 5.0  # the time limit of an idle connection when there is no room for another one
STRANGER_S = 5.0  # the same for clients that may use the open paths only
# Connections from networks that may use the open paths only. A probe takes a moment, so few places are enough.
MAX_STRANGERS = 32
GRACE_S = 0.5  # a connected client may still send a request for this long after the last call


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
        self._ingress.unread = server.unread

    def run(self) -> None:
        """Serve on the calling thread until no socket is left."""
        self._thread = threading.get_ident()
        while self.sockets:
            self._end_overdue()
            # Input that is there by now belongs to what ran just before: ask once more, without waiting.
            poll2(0 if self._ingress.busy or self._quick else IDLE_S, self.sockets)
            self._woken = False
            self._ingress.drained()
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


class Listener(TcpWSGIServer):  # type: ignore[misc]  # waitress ships no types
    """A listening socket and its connections. For callers: ``run``, ``healthy``, ``drain``, ``end`` and ``socket``.

    Attributes:
        access: the rules for clients; None allows everyone.
        bounds: what clients may use of this process.
        last_call: every answer now ends its connection.
    """

    channel_class = Channel

    def __init__(
        self,
        app: WSGIApplication,
        loop: Loop,
        access: Access | None,
        bounds: Bounds,
        adj: Adjustments,
        inherited: socket.socket | None = None,
    ) -> None:
        self.access, self.bounds, self.last_call = access, bounds, False
        self.loop = loop
        socket_facts = adj.listen[0]
        if inherited:
            socket_facts = (inherited.family, inherited.type, inherited.proto, inherited.getsockname())
        more = {"dispatcher": loop, "adj": adj, "sockinfo": socket_facts, "bind_socket": not inherited}
        super().__init__(resumable(app), loop.sockets, _sock=inherited, **more)
        loop.attach(self)

    def run(self) -> None:
        """Serve on the calling thread until ``end`` is called."""
        self.loop.run()

    def unread(self) -> int:
        """Bytes of answers that clients have not read yet."""
        return sum(channel.total_outbufs_len for channel in list(self.active_channels.values()))

    def healthy(self, timeout_s: float) -> bool:
        """Whether the loop completes a turn within that time."""
        turned = threading.Event()
        self.trigger.pull_trigger(turned.set)
        return turned.wait(timeout_s)

    def drain(self, limit_s: float) -> None:
        """Answer the clients that are connected, and accept no more; call it from another thread than ``run``'s.

        A client that does not read its answer is not waited for beyond ``limit_s``.
        """
        self.trigger.pull_trigger(self._last_call)
        pause, began = threading.Event(), time.monotonic()
        while (past_s := time.monotonic() - began) < limit_s:
            channels = list(self.active_channels.values())
            busy = any(channel.requests or channel.total_outbufs_len for channel in channels)
            if self.last_call and not busy and (past_s > GRACE_S or not channels):
                return
            pause.wait(0.05)

    def end(self) -> None:
        """Close every socket, which ends ``run``."""
        # On the loop's own thread; elsewhere an exception could be taken for a connection's.
        self.trigger.pull_trigger(lambda: close_all(self.loop.sockets, ignore_all=True))

    def handle_accept(self) -> None:
        """Accept every client that waits; waitress would accept one, and run its request before the next."""
        before = -1
        while before < len(self.active_channels) < self.adj.connection_limit:
            before = len(self.active_channels)
            super().handle_accept()
        if self.access:
            strangers = [channel for channel in self.active_channels.values() if channel.stranger]
            for channel in strangers[:-MAX_STRANGERS]:  # the oldest ones
                channel.handle_close()

    def pull_trigger(self) -> None:
        """A channel calls this when it has changed."""
        self.loop.wake()

    def maintenance(self, now: float) -> None:
        """Do nothing: waitress calls this inside poll2, where no connection can be closed at once."""

    def _last_call(self) -> None:
        """On the loop's thread: accept the clients that have connected already, then stop listening.

        Clients that connect during a restart wait for the new process where systemd keeps the socket, and are
        refused elsewhere. Without this step, those that connected just before would be cut off there.
        """
        self.last_call = True
        self.handle_accept()
        dispatcher.close(self)
