"""The listening server: waitress's TCP server, with our loop in place of its threads."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer
from waitress.wasyncore import close_all, dispatcher

from tsfm.http.transport.channel import Channel, resumable
from tsfm.http.transport.loop import Loop

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from tsfm.engine.ingress import Ingress
    from tsfm.http.auth import Access

OUTBUF_LIMIT = 64 << 20  # bytes of one answer that stay in memory; no answer is larger
# Connections from networks that may use the open paths only. A probe takes a moment, so few places are enough.
MAX_STRANGERS = 32
GRACE_S = 0.5  # a connected client may still send a request for this long after the last call


@dataclass(frozen=True)
class Bounds:
    """What clients may use of this process.

    Attributes:
        connections: open at the same time.
        body: bytes of one request body; one of this size or larger is refused.
        bodies: bytes of all request bodies together that are being received or wait for their answer.
    """

    connections: int
    body: int
    bodies: int


def listen(
    app: WSGIApplication,
    ingress: Ingress,
    access: Access | None,
    bounds: Bounds,
    address: tuple[str, int],
    inherited: socket.socket | None = None,
) -> Listener:
    """Make a server that listens already; it accepts connections when it is run.

    Args:
        ingress: is told which POSTs have been read and wait to be run.
        access: the rules for clients; None allows everyone.
        address: host (an IP address) and port.
        inherited: a socket that listens on the address already.

    Raises:
        OSError: nothing can listen on the address.
    """
    host, port = address
    adj = Adjustments(
        host=host,
        port=port,
        connection_limit=bounds.connections,
        recv_bytes=64 << 10,  # a request of a thousand points in one turn of the loop
        max_request_header_size=16 << 10,
        max_request_body_size=bounds.body,
        inbuf_overflow=bounds.body,  # no body is ever written to a file
        outbuf_overflow=OUTBUF_LIMIT,
        clear_untrusted_proxy_headers=False,  # nothing here reads them
        ident="tsfm",
    )
    return Listener(app, Loop(ingress), access, bounds, adj, inherited)


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
        kept = inherited
        known = (kept.family, kept.type, kept.proto, kept.getsockname()) if kept else adj.listen[0]
        more = {"dispatcher": loop, "adj": adj, "sockinfo": known, "bind_socket": not kept}
        super().__init__(resumable(app), loop.sockets, _sock=kept, **more)
        self.pull_trigger = loop.wake  # a channel calls it when it has changed
        loop.attach(self)

    def run(self) -> None:
        """Serve on the calling thread until ``end`` is called."""
        self.loop.run()

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
