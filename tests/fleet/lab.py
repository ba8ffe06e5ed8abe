"""A balancer before services on loopback addresses of their own, all of them real processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import HERE, Live, free_port
from tools.fleet.proxy import PROGRAM, Proxy

# Where all tests have to run, its lack is a failure.
LACKING = not PROGRAM and not os.environ.get("CI")
needs_haproxy = pytest.mark.skipif(LACKING, reason="haproxy is not installed: it is in Debian's haproxy")


class Service(Live):
    """`tsfm serve naive` at an address and a port, with settings from an ini file."""

    def __init__(self, address: str, port: int, ini: Path, log: Path) -> None:
        self.address, self.port, self.log = address, port, log
        command = [sys.executable, "-m", "tsfm", "serve", "naive", "--host", address, "--port", str(port)]
        environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src"), "TSFM_INI": str(ini)}
        with log.open("wb") as stderr:
            self.process = subprocess.Popen([*command, "--threads", "1"], env=environment, stderr=stderr)

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    def counted(self, status: int) -> float:
        """How many requests it has answered with the status."""
        return self.metric(f'tsfm_requests_total{{status="{status}"}}')

    def metric(self, name: str) -> float:
        """A sample of its metrics; 0 where it has none."""
        lines = self.get("/metrics").body.decode().splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(f"{name} ")), 0.0)


class Lab:
    """Services at 127.0.0.2 and further, and the balancer at 127.0.0.1, on the same port.

    Args:
        settings: lines of [naive].
        trouble: of the model, see ``families/naive.py``.
        rules: lines of [balancer].
    """

    def __init__(self, folder: Path, count: int = 2, settings: str = "", rules: str = "", **trouble: float) -> None:
        self.folder, self.port = folder, free_port()
        self.ini = folder / "tsfm.ini"
        (folder / "naive.json").write_text(json.dumps(trouble))
        self.addresses = [f"127.0.0.{2 + number}" for number in range(count)]
        self.ini.write_text(
            f"[naive]\nport = {self.port}\nmodel_folder = {folder}\n{settings}\n"
            f"[balancer]\nhosts = {' '.join(self.addresses)}\nfamilies = naive\n{rules}\n"
        )
        self.services = [self.serve(address) for address in self.addresses]
        for service in self.services:
            service.until_ready()
        self.proxy = Proxy(folder, self.ini)
        until(lambda: self.get("/readyz")[0] == 200)

    def serve(self, address: str) -> Service:
        return Service(address, self.port, self.ini, self.folder / f"{address}.log")

    def get(self, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        return self.ask(method, path, b"", {})

    def post(self, fields: object, path: str = "/ds_predict", **headers: str) -> tuple[int, dict[str, str], bytes]:
        return self.ask("POST", path, json.dumps(fields).encode(), headers)

    def ask(self, method: str, path: str, body: bytes, given: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body) of a request to the balancer; its header and its body come in two packets."""
        given = {"Host": "x", "Content-Length": str(len(body)), "Connection": "close"} | given
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in given.items())
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.sendall(head.encode() + b"\r\n")
            if body:
                threading.Event().wait(0.005)  # as TDgpt's client does, which writes both one after the other
                client.sendall(body)
            answer = b"".join(iter(lambda: client.recv(1 << 16), b""))
        assert answer, "the connection was closed without an answer"
        top, _, rest = answer.partition(b"\r\n\r\n")
        first, *lines = top.decode().split("\r\n")
        headers = (line.split(": ", 1) for line in lines)
        return int(first.split()[1]), {name.lower(): value for name, value in headers}, rest

    def stop(self) -> None:
        self.proxy.stop()
        for service in self.services:
            with suppress(ProcessLookupError):
                service.process.kill()
            service.process.wait(20)


def until(true, limit_s: float = 60) -> None:
    """Wait for it."""
    ends, pause = time.monotonic() + limit_s, threading.Event()
    while time.monotonic() < ends:
        with suppress(OSError):
            if true():
                return
        pause.wait(0.02)
    raise AssertionError(f"it did not become true within {limit_s} s")
