"""waitress's connection, changed: answers leave in one piece, errors are JSON, and what it holds is bounded."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

from waitress.buffers import OverflowableBuffer, ReadOnlyFileBasedBuffer
from waitress.channel import HTTPChannel
from waitress.task import ErrorTask, Task, WSGITask

from tsfm.engine.pending import RESUME, Deferred
from tsfm.http import refusals
from tsfm.http.auth import Access, Head
from tsfm.http.transport.parser import Parser, Refused

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from tsfm.http.transport.loop import Listener

# The sentence for each error that waitress itself finds; for 413 it is the one of ``refusals``.
SENTENCES = {
    400: "the request is not well-formed HTTP",
    431: "the request's headers are too large",
    500: "the service failed before it could answer",
    501: "Transfer-Encoding: expected chunked, got something else",
}
# Requests that are read while one runs. With none, nobody would notice that the client has closed the connection.
MAX_AHEAD = 1
TURN_BYTES = 1 << 20  # sent to one client before the loop looks at the others
UNCOPIED = 64 << 10  # a piece of an answer from this size on is sent from where it is
LINGER_S = 2.0  # what a refused client still sends is discarded for this long, so that it can read the reason


class OneSend(Task):  # type: ignore[misc]  # waitress ships no types
    """A task (``waitress.task.Task``) that writes header and body at once: the client gets both, or nothing."""

    wrote_header = False

    def write(self, data: bytes) -> None:
        if self.wrote_header or not (self.complete and self.has_body and data and self.content_length == len(data)):
            super().write(data)
            return
        if self.channel.server.last_call:
            self.set_close_on_finish()
        self.wrote_header = True
        self.content_bytes_written = len(data)
        self.channel.write_soon(self.build_response_header() + data)


class OneSendTask(OneSend, WSGITask):  # type: ignore[misc]
    """waitress's run of the app (``waitress.task.WSGITask``), written at once."""

    def get_environment(self) -> WSGIEnvironment:
        environ: WSGIEnvironment = super().get_environment()
        environ[RESUME] = self.request.rest
        environ[refusals.CLIENT_LEFT] = self.channel.check_client_disconnected
        return environ


def resumable(app: WSGIApplication) -> WSGIApplication:
    """The app; where it has begun a request and deferred the rest, a call runs that rest."""

    def run(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        rest: Callable[[], WSGIApplication] | None = environ[RESUME]
        return (rest() if rest else app)(environ, start_response)

    return run


class JsonErrorTask(OneSend, ErrorTask):  # type: ignore[misc]
    """The answer to a request that was refused or could not be parsed (``waitress.task.ErrorTask``), as JSON."""

    def execute(self) -> None:
        error = self.request.error
        body = refusals.body(error.body if isinstance(error, Refused) else SENTENCES.get(error.code, error.reason))
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        if isinstance(error, Refused) and error.retry_after_s:
            self.response_headers.append(("Retry-After", str(error.retry_after_s)))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(b"" if self.request.head_only else body)


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection with JSON errors and bounded buffers, and with a time limit in every state.

    Everything here runs on the loop's thread.

    Attributes:
        stranger: its client is in none of the networks of ``allow``, so it may use the open paths only.
    """

    task_class = OneSendTask
    error_task_class = JsonErrorTask
    request: Parser | None
    sent_continue: bool

    def __init__(self, server: Listener, sock: socket.socket, addr: tuple[str, int], *rest: Any, **more: Any):
        self.parser_class = partial(Parser, check=partial(_check, server.access, addr[0]))
        self.stranger = server.access is not None and not server.access.knows(addr[0])
        self.refused = False  # a request was refused: nothing that follows it is parsed
        self._ahead = b""  # input behind the last request that may be queued
        self._held_up = False  # the next request waits until the answer before it has been sent
        self._unread_since: float | None = None  # since then an answer waits for its client to read it
        self._hung_up_since: float | None = None  # since then our side is closed
        self._turn_bytes = TURN_BYTES  # that may still be sent in this turn
        super().__init__(server, sock, addr, *rest, **more)

    def received(self, data: bytes) -> bool:
        """Parse as many requests as may be queued (waitress parses all of them); the rest of the input waits."""
        self._ahead += data
        while self._ahead and not self._full():
            request = self.request = self.request or self.parser_class(self.adj)
            self._ahead = self._ahead[request.received(self._ahead) :]
            budget = self.server.bounds.bodies
            if request.body_bytes_received > refusals.SMALL_BODY and self._others_hold() > budget:
                request.refuse(Refused(refusals.too_many(budget)))
            if request.expect_continue and request.headers_finished and not self.requests and not self.sent_continue:
                self.send_continue()
            if request.completed:
                self._queue(request)
        return True

    def readable(self) -> bool:
        return self._hung_up_since is not None or not (self._full() or self.total_outbufs_len)

    def handle_read(self) -> None:
        if self._hung_up_since is None:
            super().handle_read()
            return
        try:
            self.recv(self.adj.recv_bytes)
        except OSError:
            self.handle_close()

    def service(self) -> None:
        """Run the oldest request until it would wait, for the model or for a client that does not read."""
        if self.total_outbufs_len:
            self._held_up = True
            return
        try:
            super().service()
        except Deferred as unfinished:
            unfinished.with_traceback(None)
            self.requests[0].rest = unfinished.finish
            unfinished.future.add_done_callback(lambda _: self.server.add_task(self))
            return
        if self.request:
            self.request.began = time.monotonic()  # its time limit starts now: it may have waited for this answer
        self.received(b"")

    def handle_write(self) -> None:
        if self.refused and self.close_when_flushed:
            self._flush_exception(self._flush_some)
            if self.connected and not self.total_outbufs_len:
                self._hang_up()
        else:
            super().handle_write()
        if not self.total_outbufs_len:
            self._unread_since = None
            if self._held_up:
                self._held_up = False
                self.server.add_task(self)

    def write_soon(self, data: bytes) -> int:
        """Queue output; a large piece is not copied, freed once it has been sent, and left to the loop to send."""
        if len(data) < UNCOPIED or not self.connected:
            written: int = super().write_soon(data)
            return written
        piece = ReadOnlyFileBasedBuffer(BytesIO(data))
        self.outbufs += [piece, OverflowableBuffer(self.adj.outbuf_overflow)]
        self.current_outbuf_count = 0
        self.total_outbufs_len += piece.prepare()
        return len(data)

    def send(self, data: bytes, do_close: bool = True) -> int:
        """Send what may still be sent in this turn: a client that reads fast would otherwise hold up all others."""
        sent: int = super().send(data, do_close) if self._turn_bytes > 0 else 0
        self._turn_bytes -= sent
        return sent

    def overdue(self, now: float, limit_s: float) -> bool:
        """Whether it has waited for its client for longer than ``limit_s``; asked about once a second.

        Args:
            now: from ``time.monotonic``, in seconds.
        """
        if self._hung_up_since is not None:
            return now - self._hung_up_since > LINGER_S
        if self.total_outbufs_len:
            self._unread_since = self._unread_since or now
            return now - self._unread_since > limit_s
        if self.requests:
            return False  # the model is at work
        return time.time() - self.last_activity > limit_s or bool(self.request and now - self.request.began > limit_s)

    def _full(self) -> bool:
        """Whether no further request may be queued."""
        return self.refused or self.will_close or self.close_when_flushed or len(self.requests) > MAX_AHEAD

    def _queue(self, request: Parser) -> None:
        self.request, self.sent_continue = None, False
        if request.empty:
            return
        self.refused = bool(request.error)
        self.requests.append(request)
        if len(self.requests) == 1:  # the answer to the request before it queues any other
            self.server.add_task(self)

    def _hang_up(self) -> None:
        """Close our side and discard what still comes in: with unread input, TCP would discard our answer."""
        self.close_when_flushed = False
        self._ahead, self._hung_up_since = b"", time.monotonic()
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:  # the client has closed it
            self.handle_close()

    def _flush_some(self, do_close: bool = True) -> bool:
        self._turn_bytes = TURN_BYTES
        flushed: bool = super()._flush_some(do_close)
        return flushed

    def _flush_outbufs_below_high_watermark(self) -> None:
        """Do nothing: waitress waits here until its loop has sent something, and this is the loop's thread."""

    def _others_hold(self) -> int:
        channels = [channel for channel in list(self.server.active_channels.values()) if channel is not self]
        requests = [request for channel in channels for request in (channel.request, *channel.requests) if request]
        return sum(request.body_bytes_received for request in requests)


def _check(access: Access | None, address: str, request: Parser) -> None:
    if access:
        path = "/" + request.path.lstrip("/")  # as waitress.task.WSGITask gives it to the app
        authorization = request.headers.get("AUTHORIZATION", "")
        access.check(Head(address, request.command, path, authorization, request.body_rcv is not None))
