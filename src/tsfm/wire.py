"""How waitress reads and speaks for us: an answer in one piece, refusals in our form, bounds on what it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import orjson
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.task import ErrorTask, Task, WSGITask
from waitress.utilities import BadRequest, Error

from tsfm.answer import COMES_BACK, ComeBack

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

WORDS = {
    400: "the request is not well-formed HTTP",
    413: "body: expected at most {limit} MiB, got more",
    429: "requests of more than {budget} MiB together are waiting already",
    431: "the request's headers are too large",
    500: "the service failed before it could answer",
    501: "Transfer-Encoding: expected chunked, got something else",
}
SMALL_BODY = 64 << 10  # such requests are always let in
LONGEST_LINE = 8 << 10  # between chunks; waitress would collect it without end


class TooManyBodies(Error):  # type: ignore[misc]
    """The bodies of all connections together are more than may be held."""

    code = 429
    reason = "Too Many Requests"


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """waitress's reader of requests, with the ends that it leaves open."""

    over_budget = False  # set by the channel
    command = path = ""  # asked for even where the request could not be read

    rest: Callable[[], WSGIApplication] | None = None  # of an app's run, once the model has answered

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError as error:  # urlsplit's on "http://[", int's on thousands of digits
            raise ParsingError(str(error)) from None

    def received(self, data: bytes) -> int:
        if self.over_budget:
            self.error, self.completed = TooManyBodies("bodies"), True
            return len(data)
        consumed: int = super().received(data)
        body = self.body_rcv
        if self.chunked and not self.completed and len(body.control_line) + len(body.trailer) > LONGEST_LINE:
            self.error, self.completed = BadRequest("a line between chunks"), True
        return consumed


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
        error, channel = self.request.error, self.channel
        limits = {"limit": channel.adj.max_request_body_size >> 20, "budget": channel.server.body_budget >> 20}
        sentence = WORDS.get(error.code, error.reason).format(**limits)
        body = orjson.dumps({"status": "error", "error": sentence}, option=orjson.OPT_APPEND_NEWLINE)
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        if error.code == TooManyBodies.code:
            self.response_headers.append(("Retry-After", "1"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection whose answers leave in one piece, whose errors are JSON, and that counts what others hold."""

    task_class = OneSendTask
    error_task_class = JsonErrorTask
    parser_class = Parser
    held_up = False  # a further request waits until the answer before it was sent

    def received(self, data: bytes) -> bool:
        request = self.request
        if request and request.body_bytes_received > SMALL_BODY and self._others_hold() > self.server.body_budget:
            request.over_budget = True
        return bool(super().received(data))

    def service(self) -> None:
        """Run the oldest request as far as that goes without waiting: for the model, or for who does not read."""
        if self.total_outbufs_len:
            self.held_up = True
            return
        try:
            super().service()
        except ComeBack as unfinished:
            self.requests[0].rest = unfinished.finish
            unfinished.future.add_done_callback(lambda _: self.server.add_task(self))

    def handle_write(self) -> None:
        super().handle_write()
        if self.held_up and not self.total_outbufs_len:
            self.held_up = False
            self.server.add_task(self)

    def _others_hold(self) -> int:
        channels = [channel for channel in list(self.server.active_channels.values()) if channel is not self]
        requests = [request for channel in channels for request in (channel.request, *channel.requests) if request]
        # One that was refused takes in no more and is gone as soon as it is answered.
        return sum(request.body_bytes_received for request in requests if not request.over_budget)
