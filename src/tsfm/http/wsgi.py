"""Convert one request from ASGI to WSGI: the environment for the app, and the app's answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

from tsfm.engine.pending import RESUME, Deferred
from tsfm.errors import BadRequest, RequestError
from tsfm.http import refusals
from tsfm.http.arriving import Arriving

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

Scope = Mapping[str, Any]
Header = tuple[str, str]
UNKNOWN = "0.0.0.0"  # noqa: S104  the address of a client on a Unix socket; no network of ``allow`` contains it


@dataclass(eq=False)
class Incoming:
    """A request whose headers have been read.

    Attributes:
        path: without the prefix at which the server mounts the app; percent-decoded bytes as latin-1, as in WSGI.
        headers: by their WSGI names without ``HTTP_``; repeated headers are joined by commas.
        body: the part of the body received so far.
        left: the client has closed the connection.
    """

    scope: Scope
    path: str
    headers: Mapping[str, str]
    left: bool = False

    def __post_init__(self) -> None:
        self.body = Arriving(self.declared_bytes)

    @classmethod
    def of(cls, scope: Scope) -> Incoming:
        """The request of an ASGI scope of type "http".

        Raises:
            BadRequest: the request target is not a valid URL.
        """
        return cls(scope, _path(scope), _headers(scope["headers"]))

    @property
    def method(self) -> str:
        return str(self.scope["method"])

    @property
    def address(self) -> str:
        client = self.scope.get("client")
        return client[0] if client else UNKNOWN

    @property
    def declared_bytes(self) -> int:
        """The body's length according to Content-Length; 0 without a valid header."""
        length = self.headers.get("CONTENT_LENGTH", "")
        return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else 0

    @property
    def has_body(self) -> bool:
        return self.declared_bytes > 0 or "TRANSFER_ENCODING" in self.headers

    def add(self, piece: bytes) -> int:
        """Append a piece of the body and return the piece's length."""
        self.body.append(piece)
        return len(piece)

    def drop(self) -> int:
        """Discard the body and return its length."""
        size = len(self.body)
        self.body.close()
        return size

    def environ(self) -> WSGIEnvironment:
        """The WSGI environment. Call it when the whole body has been received."""
        scope = self.scope
        host, port = scope.get("server") or ("", None)
        made: WSGIEnvironment = {
            "REQUEST_METHOD": self.method,
            "SCRIPT_NAME": scope.get("root_path", ""),
            "PATH_INFO": self.path,
            "QUERY_STRING": scope.get("query_string", b"").decode("latin-1"),
            "SERVER_NAME": host,
            "SERVER_PORT": str(port or 0),
            "SERVER_PROTOCOL": f"HTTP/{scope.get('http_version', '1.1')}",
            "REMOTE_ADDR": self.address,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": scope.get("scheme", "http"),
            "wsgi.input": self.body.getfile(),
            "wsgi.input_terminated": True,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            RESUME: None,
            refusals.CLIENT_LEFT: lambda: self.left,
        }
        for name, value in self.headers.items():
            if name not in ("CONTENT_LENGTH", "CONTENT_TYPE", "TRANSFER_ENCODING"):
                made[f"HTTP_{name}"] = value
        if self.has_body:
            made["CONTENT_LENGTH"] = str(len(self.body))
        if "CONTENT_TYPE" in self.headers:
            made["CONTENT_TYPE"] = self.headers["CONTENT_TYPE"]
        return made


@dataclass(frozen=True)
class Outgoing:
    """A complete answer.

    Attributes:
        pieces: the body; a large one comes in several.
    """

    status: int
    headers: list[Header]
    pieces: list[bytes]

    @classmethod
    def refusal(cls, error: RequestError) -> Outgoing:
        """The answer to a request that the app never sees; it ends the connection, whose body is not read."""
        body = refusals.body(str(error))
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
        if error.retry_after_s:
            headers.append(("Retry-After", str(error.retry_after_s)))
        return cls(error.status, headers, [body])

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum(map(len, self.pieces))


def run(app: WSGIApplication, environ: WSGIEnvironment) -> Outgoing | Deferred:
    """Run the app and return its answer, or the deferred rest of it, which waits for the model."""
    began: list[tuple[str, list[Header]]] = []

    def start_response(status: str, headers: list[Header], _: object = None) -> Callable[[bytes], object]:
        began[:] = [(status, headers)]
        return lambda data: None

    try:
        pieces = _collected(app(environ, start_response))
    except Deferred as deferred:
        return deferred.with_traceback(None)
    status, headers = began[0]
    return Outgoing(int(status.split()[0]), headers, pieces)


def resume(deferred: Deferred, environ: WSGIEnvironment) -> Outgoing | Deferred:
    """Run the rest of a deferred request after the model has answered."""

    def rest(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return deferred.finish()(environ, start_response)

    return run(rest, environ)


def _collected(pieces: Iterable[bytes]) -> list[bytes]:
    try:
        return list(pieces)
    finally:
        if close := getattr(pieces, "close", None):
            close()


def _path(scope: Scope) -> str:
    """The path in the form that waitress passes to the app under our own server."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    if not raw.startswith(b"//"):
        try:
            raw = urlsplit(raw).path  # the target may be a whole URL
        except ValueError:
            raise BadRequest("the request is not well-formed HTTP") from None
    path = unquote_to_bytes(raw.partition(b"#")[0]).decode("latin-1")
    path = path.removeprefix(scope.get("root_path", ""))
    return "/" + path.lstrip("/") if path.startswith("/") else path


def _headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if b"_" in name:
            continue  # otherwise it could replace the header of the same name with a hyphen
        key, text = name.upper().replace(b"-", b"_").decode("latin-1"), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found
