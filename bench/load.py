"""A cheap load generator: one process, one thread, keep-alive sockets, prebuilt requests.

It shares the CPUs with the service, so its own work would count against the service.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection

PATIENCE_S = 30.0  # no answer within this time: the service hangs, which is a failure and not a measurement


@dataclass
class Client:
    """One connection that sends the next request after each answer, or, as a prober, every ``every_s`` seconds."""

    port: int
    requests: Sequence[bytes]
    selector: selectors.BaseSelector
    every_s: float = 0.0
    address: str = "127.0.0.1"
    latencies: list[float] = field(default_factory=list)
    socket: socket.socket | None = None
    sent: int = 0
    waits: bool = False

    def send(self) -> None:
        self._answer, self._length = b"", 0
        self.began = time.perf_counter()
        if self.socket is None:
            self.socket = socket.create_connection((self.address, self.port))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.selector.register(self.socket, selectors.EVENT_READ, self)
        self.waits = True
        self.socket.sendall(self.requests[self.sent % len(self.requests)])
        self.sent += 1

    def take(self) -> bool:
        """Read received bytes; True if the answer is complete."""
        chunk = self.socket.recv(1 << 18)
        if not chunk:
            raise ConnectionError("the service closed the connection")
        self._answer += chunk
        if not self._length:
            head, end, _ = self._answer.partition(b"\r\n\r\n")
            if not end:
                return False
            if head.split(maxsplit=2)[1] not in (b"200", b"400", b"405"):
                raise ConnectionError(self._answer.decode())
            head = head.lower()
            self._closes = b"connection: close" in head
            self._length = len(head) + 4 + int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(self._answer) < self._length:
            return False
        self.latencies.append(time.perf_counter() - self.began)
        self.waits = False
        if self._closes:
            self.close()
        return True

    def close(self) -> None:
        if self.socket:
            self.selector.unregister(self.socket)
            self.socket.close()
            self.socket = None


def run(
    ports: Sequence[int],
    clients: int,
    seconds: float,
    requests: Sequence[bytes],
    probe_s: float,
    count: int | None,
    address: str = "127.0.0.1",
) -> dict[str, object]:
    """Keep the services busy and measure.

    Args:
        ports: of the services; the clients take turns in choosing one.
        seconds: longest duration.
        probe_s: seconds between GETs that run beside the POSTs; 0: none.
        count: stop after this many answers; None: after ``seconds``.

    Returns:
        ``rate`` (answers per second within the duration), ``rate_to_the_last`` (the same until the last answer, for
        services that are too slow for the duration), ``latencies_s`` of the POSTs and ``probes_s`` of the GETs.
    """
    selector = selectors.DefaultSelector()
    # Each client starts at another point of the list, so that no two send the same request at once.
    turns = [i * len(requests) // clients for i in range(clients)]
    busy = [
        Client(ports[at % len(ports)], [*requests[turn:], *requests[:turn]], selector, address=address)
        for at, turn in enumerate(turns)
    ]
    probers = [Client(ports[0], [get("/ds_predict")], selector, probe_s, address)] if probe_s else []
    began = time.perf_counter()
    for client in busy + probers:
        client.send()
    end = began + seconds
    answered_in_time = 0
    while any(client.waits for client in busy):
        now = time.perf_counter()
        idle = [p for p in probers if not p.waits]
        for prober in idle:
            if now >= prober.began + prober.every_s and now < end:
                prober.send()
        events = selector.select(probe_s if idle else PATIENCE_S)
        if not events and not idle:
            raise ConnectionError(f"no answer within {PATIENCE_S} s")
        for key, _ in events:
            client = key.data
            if client.take() and not client.every_s:
                now = time.perf_counter()
                answered_in_time += now < end
                if now < end and (count is None or answered_in_time <= count - clients):
                    client.send()
    for client in busy + probers:
        client.close()
    return {
        "rate": answered_in_time / seconds,
        "rate_to_the_last": sum(len(client.latencies) for client in busy) / (time.perf_counter() - began),
        "latencies_s": [latency for client in busy for latency in client.latencies],
        "probes_s": [latency for client in probers for latency in client.latencies],
    }


def post(path: str, fields: dict[str, object]) -> bytes:
    """The bytes of one POST."""
    body = json.dumps(fields).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def get(path: str) -> bytes:
    """The bytes of one GET."""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


class Generator:
    """``run`` in its own process."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()

    def run(
        self,
        port: int | Sequence[int],
        clients: int,
        seconds: float,
        requests: Sequence[bytes],
        probe_s: float = 0,
        count: int | None = None,
        address: str = "127.0.0.1",
    ) -> dict:
        ports = [port] if isinstance(port, int) else list(port)
        self._ours.send((ports, clients, seconds, list(requests), probe_s, count, address))
        result = self._ours.recv()
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> None:
        self._ours.send(None)
        self._process.join()


def _serve(channel: Connection) -> None:
    while (order := channel.recv()) is not None:
        try:
            channel.send(run(*order))
        except OSError as error:
            channel.send(error)
