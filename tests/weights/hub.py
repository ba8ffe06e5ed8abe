"""A small model hub on loopback that speaks the official client's protocol; standard library only.

Requests for big files are redirected to a second address (another host, like a CDN) with the SHA-256 as
the linked etag; small files are sent directly, with their git blob hash. Tests set faults in
``Hub.faults`` by file name. As a program it serves a folder of OWNER/NAME/FILE, for tests of the units:
``python3 hub.py FOLDER PORT [BYTES_PER_S]``.
"""

from __future__ import annotations

import hashlib
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

REVISION = "5f1d0c3ab7e94c2f8d6e0b1a2c3d4e5f60718293"
_BLOCK = 64 * 1024


@dataclass
class Fault:
    """A fault of one file.

    Attributes:
        status, headers: the response to HEAD requests for the file, ``times`` times.
        cut_after: close the connection after this many bytes of a response, ``times`` times.
        times: how often; None: always.
        content: bytes to send instead of the right ones (of the same length).
        bytes_per_s: the speed of sending.
        at_half: called once when half of the file has been sent.
        declared: the size in the hub's headers.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    times: int | None = None
    content: bytes | None = None
    bytes_per_s: float | None = None
    at_half: Callable[[], None] | None = None
    declared: int | None = None

    def use(self) -> bool:
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


@dataclass(frozen=True)
class Request:
    """A received request: ``span`` is the Range header and ``token`` the Authorization header; empty: absent."""

    method: str
    path: str
    span: str
    token: str
    at_cdn: bool


class Hub:
    """The hub, running from construction to ``close``; ``big`` are the names of the files in LFS."""

    def __init__(self, port: int = 0, big: tuple[str, ...] = (".safetensors", ".pth", ".ckpt")) -> None:
        self.models: dict[str, dict[str, bytes]] = {}
        self.faults: dict[str, Fault] = {}
        self.requests: list[Request] = []
        self.sent = 0
        self.commit = ""  # the commit in its headers; empty: the requested one, or REVISION for a branch or tag
        self.xet = False  # offer the public hub's own protocol for big files, which needs a package
        self._big = big
        self._servers = [self._serve("127.0.0.1", port), self._serve("127.0.0.2", 0)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def cdn(self) -> str:
        return f"http://127.0.0.2:{self._servers[1].server_port}"

    def is_big(self, name: str) -> bool:
        return name.endswith(self._big)

    def gets(self, name: str) -> list[Request]:
        """The requests for the file's bytes."""
        return [request for request in self.requests if request.method == "GET" and request.path.endswith(name)]

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def _serve(self, host: str, port: int) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer((host, port), type("Handler", (_Handler,), {"hub": self}))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self) -> None:
        hub, path = self.hub, unquote(self.path)
        cdn = self.server is hub._servers[1]
        fields = [self.headers.get(name, "") for name in ("Range", "Authorization")]
        hub.requests.append(Request(self.command, path, *fields, at_cdn=cdn))
        model, _, rest = path.strip("/").partition("/resolve/")
        revision, _, name = rest.rpartition("/")
        files = hub.models.get(model)
        if not model:
            return self._plain(200)
        if files is None:
            return self._plain(401, {"X-Error-Code": "RepoNotFound"})
        if name not in files:
            return self._plain(404, {"X-Error-Code": "EntryNotFound"})
        fault = hub.faults.get(name, Fault())
        if fault.status != 200 and self.command == "HEAD" and fault.use():
            return self._plain(fault.status, fault.headers)
        content = files[name]
        size = fault.declared or len(content)
        asked = revision if re.fullmatch("[0-9a-f]{40}", revision) else REVISION
        facts = {"X-Repo-Commit": hub.commit or asked}
        if hub.is_big(name) and not cdn:
            facts |= {"X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Linked-Size": str(size)}
            if hub.xet:
                facts |= {"X-Xet-Hash": "0" * 64, "Link": f'<{hub.url}/xet-token>; rel="xet-auth"'}
            return self._plain(302, {**facts, "Location": hub.cdn + self.path})
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return self._file(fault.content or content, fault, {**facts, "ETag": f'"{blob}"'}, size)

    def _plain(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _file(self, content: bytes, fault: Fault, headers: dict[str, str], size: int) -> None:
        span = self.headers.get("Range", "")
        start = int(span.removeprefix("bytes=").partition("-")[0]) if span else 0
        self.send_response(206 if span else 200)
        if span:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        if self.command == "GET":
            self._bytes(content, start, fault)

    def _bytes(self, content: bytes, start: int, fault: Fault) -> None:
        end = len(content)
        if fault.cut_after is not None and fault.use():
            end = min(end, start + fault.cut_after)
        for at in range(start, end, _BLOCK):
            block = content[at : min(at + _BLOCK, end)]
            if fault.at_half and at >= len(content) // 2:
                fault.at_half, then = None, fault.at_half
                then()
            try:
                self.wfile.write(block)
            except OSError:
                break  # the client was killed
            self.hub.sent += len(block)
            if fault.bytes_per_s:
                time.sleep(len(block) / fault.bytes_per_s)
        if end < len(content):
            self.close_connection = True


def main(folder: Path, port: int, bytes_per_s: float | None) -> None:
    hub = Hub(port)
    for path in folder.glob("*/*/*"):
        hub.models.setdefault(f"{path.parent.parent.name}/{path.parent.name}", {})[path.name] = path.read_bytes()
        hub.faults[path.name] = Fault(bytes_per_s=bytes_per_s)
    print(f"serving {sorted(hub.models)} at {hub.url}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) if sys.argv[3:] else None)
