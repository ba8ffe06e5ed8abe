"""One HTTP request to a service on this network, by http.client: no proxy, no redirect, a bounded answer.

urllib would send requests for 127.0.0.1 to the proxy in http_proxy and take the proxy's answer for the service's.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from tsfm.errors import TsfmError

LARGEST_ANSWER = 256 << 20


class Unreachable(TsfmError):
    """Connections to the address are refused or time out."""


class Broken(TsfmError):
    """A server accepted the connection, but no complete HTTP answer came in time."""


class TooLong(http.client.HTTPException):
    """The answer is longer than it may be."""


@dataclass(frozen=True)
class Reply:
    """An HTTP answer, whatever its status; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def exchange(
    url: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 5,
    most: int = LARGEST_ANSWER,
    method: str | None = None,
) -> Reply:
    """GET the URL, or POST a body to it, or use another method; the answer has at most ``most`` bytes.

    Raises:
        Unreachable, Broken
    """
    parts = urlsplit(url)
    deadline = time.monotonic() + timeout_s
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.connect()
    except ConnectionResetError as error:  # before the handshake has ended, a reset is told as a refusal
        raise Broken(f"{url}: the connection broke: {error.strerror}") from None
    except OSError as error:
        raise Unreachable(f"{url} does not answer: {error.strerror or error}") from None
    try:
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request(method or ("GET" if body is None else "POST"), target, body, dict(headers or {}))
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, fields, _read(response, deadline, most))
    except TimeoutError:
        raise Broken(f"{url} did not answer within {timeout_s:g} s") from None
    except http.client.IncompleteRead:
        raise Broken(f"{url}: the connection closed before the end of the answer") from None
    except TooLong:
        raise Broken(f"{url}: expected an answer of at most {most >> 20} MiB, got more") from None
    except http.client.HTTPException as error:
        raise Broken(f"{url} does not speak HTTP: {type(error).__name__}") from None
    except OSError as error:
        raise Broken(f"{url}: the connection broke: {error.strerror or error}") from None
    finally:
        connection.close()


def _read(response: http.client.HTTPResponse, deadline: float, most: int) -> bytes:
    # The timeout of a socket starts again with each byte; the deadline does not.
    pieces, size = [], 0
    while piece := response.read1(1 << 20):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise TooLong
        if time.monotonic() > deadline:
            raise TimeoutError
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(pieces)
