"""Requests to a service on this host whose connection breaks."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

from conftest import HERE

PROGRAM = """
import sys
from tsfm.system.loopback import Broken, Unreachable, exchange
try:
    exchange(sys.argv[1], timeout_s=60)
except (Broken, Unreachable) as error:
    print(type(error).__name__, error)
"""
SYN_SENT = "02"


def is_connecting(port: int) -> bool:
    """Whether a connection to the port waits for its handshake."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[2].endswith(f":{port:04X}") and row[3] == SYN_SENT for row in rows)


def test_a_connection_that_is_reset_before_connect_returns_is_broken_and_not_unreachable() -> None:
    """The client is stopped in connect(), so that it sees the handshake and the reset together."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, socket.socket() as other:
        server.settimeout(60)
        port = server.getsockname()[1]
        other.connect(("127.0.0.1", port))  # the queue is full: the next handshake is not answered
        command = [sys.executable, "-c", PROGRAM, f"http://127.0.0.1:{port}/"]
        env = os.environ | {"PYTHONPATH": str(HERE.parent / "src")}
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as client:
            try:
                while not is_connecting(port):
                    assert not select.select([client.stdout], [], [], 0.02)[0]
                client.send_signal(signal.SIGSTOP)
                server.accept()[0].close()
                connection, _ = server.accept()  # of the client, which sends its SYN again each second
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
            finally:
                client.send_signal(signal.SIGCONT)
            said, _ = client.communicate(timeout=60)
    assert said == f"Broken http://127.0.0.1:{port}/: the connection broke: Connection reset by peer\n"
