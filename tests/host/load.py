"""Clients that ask without pause and know each answer: run inside the container by the tests beside it.

``load.py PORT CLIENTS OUT`` learns the answers while nobody else asks, touches OUT.started, runs until the file
OUT.stop is there and writes to OUT what came of the requests, by kind: a status, "refused" (nobody listened),
"reset" (ended before a byte of the answer), "cut" (ended within it), "wrong".
Standard library only.
"""

from __future__ import annotations

import collections
import json
import random
import socket
import sys
import threading
from pathlib import Path


def question(number: int) -> bytes:
    """A request whose answer is not that of another number."""
    values = [1000 * number + (7 * i * i + number * i) % 13 for i in range(60)]
    body = json.dumps({"input": values, "next_len": 3}).encode()
    head = f"POST /ds_predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


QUESTIONS = [question(number) for number in range(20)]


def ask(port: int, number: int) -> tuple[bytes, str]:
    """One request: the answer, or why there is none."""
    got = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            client.sendall(QUESTIONS[number])
            while chunk := client.recv(1 << 16):
                got += chunk
    except ConnectionRefusedError:
        return b"", "refused"
    except OSError:
        return b"", "cut" if got else "reset"
    return got, "" if got else "reset"


def output(got: bytes) -> list[float]:
    found: list[float] = json.loads(got.partition(b"\r\n\r\n")[2])["output"]
    return found


def judged(got: bytes, wanted: list[float]) -> str:
    """The status, or what is wrong with the answer."""
    head, _, body = got.partition(b"\r\n\r\n")
    status = head.split()[1].decode()
    length = next(int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
    if len(body) != length:
        return "cut"
    if status == "200" and any(abs(a - b) > 0.1 for a, b in zip(output(got), wanted, strict=True)):
        return "wrong"
    if status in ("429", "503") and b"Retry-After" not in head:
        return f"{status} without Retry-After"
    return status


def main(port: int, clients: int, out: Path) -> None:
    kinds: collections.Counter[str] = collections.Counter()
    stop, pause = Path(f"{out}.stop"), threading.Event()
    expected = [output(ask(port, number)[0]) for number in range(len(QUESTIONS))]
    Path(f"{out}.started").touch()

    def client() -> None:
        while not stop.exists():
            number = random.randrange(len(QUESTIONS))
            got, kind = ask(port, number)
            kind = kind or judged(got, expected[number])
            kinds[kind] += 1
            if kind != "200":
                pause.wait(0.05)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = Path(f"{out}.whole")
    whole.write_text(json.dumps(kinds))
    whole.rename(out)  # who waits for the file must never see half of it


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
