"""Clients of the naive family, which know every answer: ``python -m tools.fleet.load URL CLIENTS [POINTS]``.

They send header and body apart, as Python's ``requests`` does. Half of them keep their connection, half open one for
each request. Beside them a prober sends ten GET a second. The first line on stdout is printed when every client has its
first answer. They ask until stdin is closed; then the last line is a JSON object of counts and times.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from urllib.parse import urlsplit

PATIENCE_S = 70.0
PROBE_S = 0.1
SOON_S = 0.1  # TDgpt's probe waits so long
POINTS, STEPS = 64, 4


class Client:
    """One client, and what came of its requests."""

    def __init__(self, host: str, port: int, keep_alive: bool, points: int = POINTS) -> None:
        self._host, self._port, self._keep_alive, self._points = host, port, keep_alive, points
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.kinds: Counter[str] = Counter()
        self.seconds: list[float] = []

    async def request(self, method: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer.

        Raises:
            OSError, EOFError, ValueError: the connection ended, or the answer is no HTTP.
        """
        try:
            return await asyncio.wait_for(self._exchange(method, body), PATIENCE_S)
        except BaseException:
            self.close()
            raise

    async def _exchange(self, method: str, body: bytes) -> tuple[int, bytes]:
        self._streams = self._streams or await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        writer.write(f"{method} /ds_predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        await writer.drain()
        if body:
            await asyncio.sleep(0.001)  # the body is a packet of its own
            writer.write(body)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        data = await reader.readexactly(length)
        if not self._keep_alive or b"connection: close" in head:
            self.close()
        return int(head.split()[1]), data

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None

    async def forecast(self, values: random.Random) -> None:
        """One request, whose answer repeats the last value, which no other request has."""
        series = [values.gauss(10, 3) for _ in range(self._points - 1)] + [10 + values.random()]
        began = time.monotonic()
        try:
            status, data = await self.request("POST", json.dumps({"input": series, "next_len": STEPS}).encode())
        except (OSError, EOFError, ValueError) as error:
            self.kinds[type(error).__name__] += 1
            return
        self.seconds.append(time.monotonic() - began)
        if status != 200:
            self.kinds[f"{status} {data[:100].decode(errors='replace').strip()}"] += 1
            return
        output = json.loads(data)["output"]
        right = len(output) == STEPS and all(abs(value - series[-1]) < 1e-5 for value in output)
        self.kinds["right" if right else "crossed"] += 1


async def work(client: Client, number: int, ended: asyncio.Event, begun: asyncio.Barrier) -> None:
    values = random.Random(number)  # noqa: S311  no secret: another series for each client
    await client.forecast(values)
    await begun.wait()
    while not ended.is_set():
        await client.forecast(values)
    client.close()


async def probe(client: Client, ended: asyncio.Event) -> None:
    """GET, as TDgpt's own check of a model service does."""
    while not ended.is_set():
        began = time.monotonic()
        try:
            status, _ = await client.request("GET", b"")
            client.kinds["405" if status == 405 else "other"] += 1
        except (OSError, EOFError, ValueError) as error:
            client.kinds[type(error).__name__] += 1
        client.seconds.append(time.monotonic() - began)
        await asyncio.sleep(PROBE_S)


async def main(url: str, count: int, points: int = POINTS) -> None:
    address = urlsplit(url)
    where = address.hostname or "", address.port or 80
    clients = [Client(*where, number % 2 == 0, points) for number in range(count)]
    prober = Client(*where, False)
    ended, begun = asyncio.Event(), asyncio.Barrier(count + 1)
    tasks = [asyncio.create_task(work(client, n, ended, begun)) for n, client in enumerate(clients)]
    tasks.append(asyncio.create_task(probe(prober, ended)))
    await begun.wait()
    print("begun", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    ended.set()
    await asyncio.gather(*tasks)
    kinds = sum((client.kinds for client in clients), Counter())
    waits = sorted(wait for client in clients for wait in client.seconds)
    facts = {
        "requests": kinds.total(),
        "lost": kinds.total() - kinds["right"] - kinds["crossed"],
        "crossed": kinds["crossed"],
        "slowest_ms": round(1000 * waits[-1]),
        "p50_ms": round(1000 * waits[len(waits) // 2]),
        "gets": prober.kinds.total(),
        "gets_not_405": prober.kinds.total() - prober.kinds["405"],
        "gets_over_100ms": sum(wait > SOON_S for wait in prober.seconds),
        "slowest_get_ms": round(1000 * max(prober.seconds)),
        "words": {kind: number for kind, number in kinds.items() if kind not in ("right", "crossed")},
    }
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
