"""taosAdapter on loopback: its REST API as the contract describes it, answer by answer."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path


class Adapter:
    """Answers each connection with the next of its raw answers; None: an answer that never ends."""

    def __init__(self, *answers: bytes | None) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.answers = answers
        self.requests: list[bytes] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        for answer in self.answers:
            with contextlib.suppress(OSError):
                connection, _ = self.server.accept()
                with connection:
                    self.requests.append(self.receive(connection))
                    if answer is None:
                        self.drip(connection)
                    else:
                        connection.sendall(answer)

    def receive(self, connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body

    def drip(self, connection: socket.socket) -> None:
        """Never done, yet never silent."""
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not self.over.wait(0.02):
            connection.sendall(b" ")

    def statements(self) -> list[bytes]:
        return [request.rpartition(b"\r\n\r\n")[2] for request in self.requests]


def http(status: int, body: object) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(data), data)


def success(rows: Sequence[Sequence[object]], **columns: str) -> bytes:
    """A result set; ``columns`` gives the type of each column by its name, as TDengine writes it."""
    meta = [[name, kind, 8] for name, kind in columns.items()]
    return http(200, {"code": 0, "column_meta": meta, "data": rows, "rows": len(rows)})


@contextlib.contextmanager
def running(settings: Path, *answers: bytes | None, more: str = "") -> Iterator[Adapter]:
    """An adapter, which the settings file names; ``more`` is added to its section."""
    here = Adapter(*answers)
    settings.write_text(f"[tdengine]\nrest_port = {here.port}\n{more}")
    here.thread.start()
    try:
        yield here
    finally:
        here.over.set()
        here.server.shutdown(socket.SHUT_RDWR)
        here.thread.join()
        here.server.close()
