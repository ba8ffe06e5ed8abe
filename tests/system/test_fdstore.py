"""The listening socket, handed to systemd and taken over by the next process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import HERE, free_port

pytestmark = pytest.mark.slow

ASK = json.dumps({"input": list(range(20)), "next_len": 1}).encode()
POST = b"POST /ds_predict HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(ASK), ASK)
FD = 3


class Systemd:
    """What of it matters here: a channel that is told things and given sockets, and processes that get those."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.channel.bind(self.address)
        self.channel.settimeout(60)
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, port: int, kept: int | None = None) -> subprocess.Popen[bytes]:
        """A service, with the kept socket as its third file."""
        passing = f"exec 3<&{kept}; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=listen" if kept is not None else ""
        command = f"{passing} exec {sys.executable} -m tsfm serve naive --port {port}"
        env = os.environ | {"PYTHONPATH": str(HERE.parent / "src"), "NOTIFY_SOCKET": self.address}
        files = [kept] if kept is not None else []
        process = subprocess.Popen(["bash", "-c", command], env=env, pass_fds=files, stderr=subprocess.PIPE)
        self.started.append(process)
        return process

    def told(self, word: str) -> list[int]:
        """Wait until that was said; gives the files that came with it."""
        while True:
            said, files, _, _ = socket.recv_fds(self.channel, 4096, 4)
            if word in said.decode().split("\n"):
                return files
            assert not files, said

    def close(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()
            process.stderr.close()
        self.channel.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(tmp_path)
    yield made
    made.close()


def ask(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=60)
    client.sendall(POST)
    return client


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_who_connects_while_nobody_runs_is_answered_by_the_next_process(systemd: Systemd, how: int) -> None:
    port = free_port()
    first = systemd.start(port)
    (kept,) = systemd.told("FDSTORE=1")
    systemd.told("READY=1")
    first.send_signal(how)
    assert first.wait(60) == {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 0}[how]
    waiting = [ask(port) for _ in range(5)]
    systemd.start(port, kept)
    systemd.told("READY=1")
    for client in [*waiting, ask(port)]:
        with client, client.makefile("rb") as stream:
            # The model may have been loading still when the first of them were read.
            assert stream.readline().split()[1] in (b"200", b"503")
    os.close(kept)


def test_a_socket_elsewhere_than_the_settings_say_is_given_up(systemd: Systemd) -> None:
    before, now = free_port(), free_port()
    with socket.create_server(("127.0.0.1", before)) as kept:
        systemd.start(now, kept.fileno())
        systemd.told("FDSTOREREMOVE=1")
        (new,) = systemd.told("FDSTORE=1")
        systemd.told("READY=1")
        with socket.socket(fileno=new) as stored:
            assert stored.getsockname() == ("127.0.0.1", now)
        with ask(now) as client, client.makefile("rb") as stream:
            assert stream.readline().split()[1] == b"200"
