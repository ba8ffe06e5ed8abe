"""The clients: valid ones, each with a known expected answer, and hostile ones."""

# ruff: noqa: S311
from __future__ import annotations

import collections
import contextlib
import gzip
import json
import random
import socket
import threading
import time
from dataclasses import dataclass, field

import numpy as np

from .service import Service

PATIENCE_S = 60  # twice the service's deadline
STATUSES = {200, 400, 404, 405, 413, 429, 431, 501, 503, 504, 507}
HEAD = "POST /ds_predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n"


def questions(count: int) -> list[bytes]:
    """Requests whose answers all differ, so that no answer can be mistaken for another one."""
    noise = np.random.default_rng(1)
    made = []
    for number in range(count):
        length = int(noise.integers(20, 1200))
        wave = np.sin(np.arange(length) / noise.uniform(2, 9)) + noise.normal(0, 0.1, length)
        fields = {"input": list(1000.0 * (number + 1) + wave), "next_len": int(noise.integers(1, 48))}
        made.append(packet(json.dumps(fields).encode()))
    return made


def packet(body: bytes) -> bytes:
    return HEAD.format(len(body)).encode() + body


def exchange(port: int, request: bytes) -> bytes:
    """All bytes of the answer to ``request``."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as client:
        client.sendall(request)
        while chunk := client.recv(1 << 16):
            got += chunk
    return got


def parsed(got: bytes) -> tuple[int, dict[str, object]]:
    """Status and fields; ValueError if the answer is incomplete or not JSON."""
    head, _, body = got.partition(b"\r\n\r\n")
    length = int(next(line[16:] for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")))
    if len(body) != length:
        raise ValueError("cut")
    return int(head.split()[1]), json.loads(body)


@dataclass
class Tally:
    """Results of the run: answers counted by kind, and the four counters of failures, which must stay 0."""

    kinds: collections.Counter[str] = field(default_factory=collections.Counter)
    lost: int = 0
    crosstalk: int = 0
    unfit: int = 0  # a 500, no JSON, an unknown status
    unanswered_gets: int = 0
    examples: list[str] = field(default_factory=list)

    def bad(self, kind: str, what: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.examples) < 10:
            self.examples.append(f"{kind}: {what}"[:300])


class Traffic:
    """All clients of one run.

    Args:
        expected: the answer to each question, measured without load.
    """

    def __init__(self, service: Service, bodies: list[bytes], expected: list[np.ndarray]) -> None:
        self.service, self.bodies, self.expected = service, bodies, expected
        self.tally = Tally()
        self.over = threading.Event()

    def properly(self) -> None:
        """Send one question after the other until the run ends."""
        while not self.over.is_set():
            if self.one() != "200":
                self.over.wait(0.1)

    def one(self) -> str:
        """Send one question and return the kind of the result."""
        number, began = random.randrange(len(self.bodies)), time.monotonic()
        try:
            kind = self._judged(number, exchange(self.service.port, self.bodies[number]), began)
        except ConnectionRefusedError:
            kind = "nobody listens, being restarted"
            if not self.service.disturbed_since(began):
                self.tally.bad("lost", "connection refused")
        except OSError as error:
            kind = self._unanswered(repr(error), began)
        self.tally.kinds[kind] += 1
        return kind

    def _judged(self, number: int, got: bytes, began: float) -> str:
        if not got:
            return self._unanswered("closed without a byte", began)
        try:
            status, fields = parsed(got)
        except ValueError:
            return self._unanswered(f"{len(got)} bytes of an answer", began)
        if status == 200:
            answer, expected = np.array(fields["output"]), self.expected[number]
            if answer.shape != expected.shape or np.abs(answer - expected).max() > 0.05:
                self.tally.bad("crosstalk", f"question {number}: {answer[:3]}, expected {expected[:3]}")
        elif status not in (429, 503, 504):
            self.tally.bad("unfit", str((status, fields)))
        return str(status)

    def _unanswered(self, what: str, began: float) -> str:
        if self.service.disturbed_since(began):
            return "ended by a kill"
        self.tally.bad("lost", what)
        return "lost"

    def burst(self, size: int = 60) -> None:
        """Send more requests at once than the queue holds."""
        clients = [threading.Thread(target=self.one) for _ in range(size)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()

    def hang(self, size: int = 40) -> None:
        """Open connections with incomplete requests and hold them for up to 3 s."""
        with contextlib.ExitStack() as held:
            for _ in range(size):
                with contextlib.suppress(OSError):
                    client = held.enter_context(socket.create_connection(("127.0.0.1", self.service.port), timeout=5))
                    whole = random.choice(self.bodies)
                    client.sendall(whole[: random.randrange(len(whole))])
            self.over.wait(3)
        self.tally.kinds["half a request"] += size

    def hostile(self) -> None:
        """Send malformed requests until the run ends; an answer, if any, must have our format."""
        while not self.over.is_set():
            attack = random.choice(ATTACKS)(random.choice(self.bodies))
            try:
                with socket.create_connection(("127.0.0.1", self.service.port), timeout=PATIENCE_S) as client:
                    client.sendall(attack)
                    client.shutdown(socket.SHUT_WR)
                    got = client.recv(1 << 16)
            except OSError:
                got = b""  # the service may close the connection before it has read everything
            self.tally.kinds["hostile"] += 1
            self._check_form(got)
            self.over.wait(0.02)

    def _check_form(self, got: bytes) -> None:
        if not got or got.startswith(b"HTTP/1.1 100"):
            return
        head, _, body = got.partition(b"\r\n\r\n")
        if int(head.split()[1]) not in STATUSES or (body and not body.startswith(b"{")):
            self.tally.bad("unfit", repr(got[:200]))

    def watch(self) -> None:
        """Send GETs, which must always be answered."""
        while not self.over.wait(0.25):
            began = time.monotonic()
            try:
                got = exchange(self.service.port, b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
            except OSError:
                got = b""
            if b" 200 OK" not in got[:20] and not self.service.disturbed_since(began):
                self.tally.bad("unanswered_gets", repr(got[:100]))
            self.tally.kinds["GET"] += 1


def damaged(request: bytes) -> bytes:
    at = random.randrange(min(len(request), 400))
    return request[:at] + random.randbytes(random.randrange(8)) + request[at + random.randrange(8) :]


BOMB = gzip.compress(b"0" * (32 << 20))
ATTACKS = [
    damaged,
    damaged,
    lambda request: random.randbytes(random.randrange(2000)),
    lambda request: request[: random.randrange(len(request))],
    lambda request: packet(b"[" * 100_000),
    lambda request: packet(b'{"input":[' + b"1," * 40_000 + b"1]}"),
    lambda request: packet(b'{"input":[1e400,2,3,4,5,6,7,8,9,10]}'),
    lambda request: packet(BOMB),
    lambda request: b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    lambda request: b"POST /ds_predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    lambda request: b"POST /ds_predict HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
    lambda request: b"DELETE /ds_predict HTTP/1.1\r\n\r\n",
    lambda request: b"GET /%00%0a%1b HTTP/1.1\r\n\r\n",
]
