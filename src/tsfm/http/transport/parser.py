"""waitress's parser, changed: access is checked before the body is read, and every part of a request is bounded."""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.receiver import FixedStreamReceiver
from waitress.utilities import BadRequest, Error, RequestEntityTooLarge

from tsfm.errors import RequestError
from tsfm.http import refusals
from tsfm.http.arriving import Arriving
from tsfm.http.reading import LARGE

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from waitress.adjustments import Adjustments

MAX_CHUNK_LINE = 8 << 10  # bytes of a line between chunks; waitress sets no limit


class Refused(Error):  # type: ignore[misc]
    """One of our errors in the form that waitress answers (``waitress.utilities.Error``), with its own sentence."""

    def __init__(self, error: RequestError) -> None:
        super().__init__(str(error))
        self.code, self.reason = error.status, HTTPStatus(error.status).phrase
        self.retry_after_s = error.retry_after_s


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """waitress's request parser, with access control and with limits where waitress has none.

    Args:
        check: called when the headers have been read; raises the error to refuse the request with.

    Attributes:
        began: when its first byte was read, from ``time.monotonic``, in seconds.
        rest: the rest of the app's run, for when the model has answered.
        head_only: it was refused, and its method was HEAD: the answer has no body.
    """

    completed: bool
    error: Error | None
    content_length: int
    command = path = ""  # needed even where the request could not be parsed
    rest: Callable[[], WSGIApplication] | None = None
    head_only = False

    def __init__(self, adj: Adjustments, check: Callable[[Parser], None] = lambda request: None) -> None:
        super().__init__(adj)
        self._check: Callable[[Parser], None] | None = check
        self.began = time.monotonic()

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError as error:  # urlsplit's on "http://[", int's on thousands of digits
            raise ParsingError(str(error)) from None
        if isinstance(self.body_rcv, FixedStreamReceiver) and self.content_length > LARGE:
            self.body_rcv.buf = Arriving(self.content_length)

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        body = self.body_rcv
        if self.headers_finished and self._check and not self.empty:
            self._admit(self._check)
        if self.chunked and not self.completed and len(body.control_line) + len(body.trailer) > MAX_CHUNK_LINE:
            self.refuse(BadRequest("a line between chunks"))
        if isinstance(self.error, RequestEntityTooLarge):
            self.error = Refused(refusals.too_large(self.adj.max_request_body_size))
        if self.error:
            self.refuse(self.error)
            return len(data)  # what follows can only be the rest of its body
        return consumed

    def refuse(self, error: Error) -> None:
        """Read no more of it and answer it with the error, ahead of the requests that need the model."""
        self.close()
        self.error, self.completed, self.expect_continue = error, True, False
        self.head_only = self.command == "HEAD"
        self.command, self.body_bytes_received = "", 0

    def _admit(self, check: Callable[[Parser], None]) -> None:
        self._check = None
        if self.error and not isinstance(self.error, RequestEntityTooLarge):
            return  # its headers could not be parsed
        try:
            check(self)
        except RequestError as error:
            self.error = Refused(error)
