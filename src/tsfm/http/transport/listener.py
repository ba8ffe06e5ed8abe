"""Making the server: what the rest of the service uses of this folder."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from waitress.adjustments import Adjustments

from tsfm.http.transport.loop import Listener, Loop

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from tsfm.engine.ingress import Ingress
    from tsfm.http.auth import Access

OUTBUF_LIMIT = 64 << 20  # bytes of one answer that stay in memory; no answer is larger


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
