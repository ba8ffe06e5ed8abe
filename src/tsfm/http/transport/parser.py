"""How waitress reads a request for us: who may ask is decided before its body, and nothing is collected without end."""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import BadRequest, Error, RequestEntityTooLarge

from tsfm.errors import RequestError

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from waitress.adjustments import Adjustments

LONGEST_LINE = 8 << 10  # between chunks; waitress would collect it without end


class Refused(Error):  # type: ignore[misc]
    """waitress's kind of error (waitress.utilities.Error) for one of ours, with its own sentence."""

    def __init__(self, error: RequestError) -> None:
        super().__init__(str(error))
        self.code, self.reason = error.status, HTTPStatus(error.status).phrase
        self.retry_after_s = error.retry_after_s


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """waitress's reader of requests, with the ends that it leaves open.

    Args:
        check: raises what a request is refused with, when its headers are in.

    Attributes:
        began: when the first byte of it was read, of ``time.monotonic``.
        rest: of an app's run, once the model has answered.
    """

    command = path = ""  # asked for even where the request could not be read
    rest: Callable[[], WSGIApplication] | None = None

    def __init__(self, adj: Adjustments, check: Callable[[Parser], None] = lambda request: None) -> None:
        super().__init__(adj)
        self._check: Callable[[Parser], None] | None = check
        self.began = time.monotonic()

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError as error:  # urlsplit's on "http://[", int's on thousands of digits
            raise ParsingError(str(error)) from None

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        body = self.body_rcv
        if self.headers_finished and self._check and not self.empty:
            self._admit(self._check)
        if self.chunked and not self.completed and len(body.control_line) + len(body.trailer) > LONGEST_LINE:
            self.refuse(BadRequest("a line between chunks"))
        if self.error:
            self.refuse(self.error)
            return len(data)  # what follows belongs to its body, or to nothing
        return consumed

    def refuse(self, error: Error) -> None:
        """It takes in no more and is answered with the error, before those that need the model."""
        self.close()
        self.error, self.completed, self.expect_continue = error, True, False
        self.command, self.body_bytes_received = "", 0

    def _admit(self, check: Callable[[Parser], None]) -> None:
        self._check = None
        if self.error and not isinstance(self.error, RequestEntityTooLarge):
            return  # not even its headers could be read
        try:
            check(self)
        except RequestError as error:
            self.error = Refused(error)
