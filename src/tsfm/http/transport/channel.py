"""How waitress speaks for us: an answer in one piece, refusals in our form, bounds on what a connection holds."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from waitress.channel import HTTPChannel
from waitress.task import ErrorTask, Task, WSGITask

from tsfm.engine.pending import COMES_BACK, Deferred
from tsfm.errors import QueueFull
from tsfm.http.auth import Access, Asked
from tsfm.http.transport.parser import Parser, Refused

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from waitress.server import BaseWSGIServer

WORDS = {
    400: "the request is not well-formed HTTP",
    413: "body: expected at most {limit} MiB, got more",
    431: "the request's headers are too large",
    500: "the service failed before it could answer",
    501: "Transfer-Encoding: expected chunked, got something else",
}
TOO_MANY = "requests of more than {budget} MiB together are waiting already"
SMALL_BODY = 64 << 10  # such requests are always let in
MOST_AHEAD = 1  # requests that are read while one is run: so it is noticed when its client leaves
LINGER_S = 2.0  # so long what a refused client still sends is thrown away, that it may read why


class OneSend(Task):  # type: ignore[misc]  # waitress ships no types
    """A task (waitress.task.Task) whose header and body leave in one packet: whole, or not at all."""

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
    """waitress's run of the app (waitress.task.WSGITask), in one packet."""

    def get_environment(self) -> WSGIEnvironment:
        environ: WSGIEnvironment = super().get_environment()
        environ[COMES_BACK] = self.request.rest
        return environ


def comes_back(app: WSGIApplication) -> WSGIApplication:
    """The app, or what it left to be done of the request."""

    def run(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        rest: Callable[[], WSGIApplication] | None = environ[COMES_BACK]
        return (rest() if rest else app)(environ, start_response)

    return run


class JsonErrorTask(OneSend, ErrorTask):  # type: ignore[misc]
    """waitress's answer to a request that it could not parse (waitress.task.ErrorTask)."""

    def execute(self) -> None:
        error, adj = self.request.error, self.channel.adj
        words = WORDS.get(error.code, error.reason).format(limit=adj.max_request_body_size >> 20)
        sentence = error.body if isinstance(error, Refused) else words
        body = orjson.dumps({"status": "error", "error": sentence}, option=orjson.OPT_APPEND_NEWLINE)
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        if isinstance(error, Refused) and error.retry_after_s:
            self.response_headers.append(("Retry-After", str(error.retry_after_s)))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection whose answers leave in one piece, whose errors are JSON, and that has an end in every state.

    All of it runs on the loop's thread.

    Attributes:
        stranger: it comes from a network that may ask for nothing but the open paths.
    """

    task_class = OneSendTask
    error_task_class = JsonErrorTask
    request: Parser | None
    sent_continue: bool

    def __init__(self, server: BaseWSGIServer, sock: socket.socket, addr: tuple[str, int], *rest: Any, **more: Any):
        self.parser_class = partial(Parser, check=partial(_check, server.access, addr[0]))
        self.stranger = bool(server.access) and not server.access.knows(addr[0])
        self.refused = False  # a request was: what comes after it is never looked at
        self._ahead = b""  # came together with the last request that may be queued
        self._held_up = False  # a further request waits until the answer before it was sent
        self._unread_since: float | None = None  # an answer waits for its reader
        self._hung_up_since: float | None = None
        super().__init__(server, sock, addr, *rest, **more)

    def received(self, data: bytes) -> bool:
        """Read requests out of what came, as many as may be queued (waitress reads all); the rest waits."""
        self._ahead += data
        while self._ahead and not self._full():
            request = self.request = self.request or self.parser_class(self.adj)
            self._ahead = self._ahead[request.received(self._ahead) :]
            if request.body_bytes_received > SMALL_BODY and self._others_hold() > self.server.body_budget:
                request.refuse(Refused(QueueFull(TOO_MANY.format(budget=self.server.body_budget >> 20))))
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
        """Run the oldest request as far as that goes without waiting: for the model, or for who does not read."""
        if self.total_outbufs_len:
            self._held_up = True
            return
        try:
            super().service()
        except Deferred as unfinished:
            self.requests[0].rest = unfinished.finish
            unfinished.future.add_done_callback(lambda _: self.server.add_task(self))
            return
        if self.request:
            self.request.began = time.monotonic()  # it may have waited for this answer
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

    def overdue(self, now: float, limit_s: float) -> bool:
        """It has been longer than that in a state which only its client can end; asked about once a second.

        Args:
            now: of ``time.monotonic``.
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
        """No further request may be queued."""
        return self.refused or self.will_close or self.close_when_flushed or len(self.requests) > MOST_AHEAD

    def _queue(self, request: Parser) -> None:
        self.request, self.sent_continue = None, False
        if request.empty:
            return
        self.refused = bool(request.error)
        self.requests.append(request)
        if len(self.requests) == 1:  # else the answer to the one before will see to it
            self.server.add_task(self)

    def _hang_up(self) -> None:
        """End our side, and throw away what is still coming: if it were left, TCP would throw our answer away."""
        self.close_when_flushed = False
        self._ahead, self._hung_up_since = b"", time.monotonic()
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:  # its client has ended it
            self.handle_close()

    def _flush_outbufs_below_high_watermark(self) -> None:
        """waitress waits here until its loop has sent something; that would be the thread that waits."""

    def _others_hold(self) -> int:
        channels = [channel for channel in list(self.server.active_channels.values()) if channel is not self]
        requests = [request for channel in channels for request in (channel.request, *channel.requests) if request]
        return sum(request.body_bytes_received for request in requests)


def _check(access: Access | None, address: str, request: Parser) -> None:
    if access:
        path = "/" + request.path.lstrip("/")  # as waitress.task.WSGITask gives it to the app
        authorization = request.headers.get("AUTHORIZATION", "")
        access.check(Asked(address, request.command, path, authorization, request.body_rcv is not None))
