"""Hosts at loopback addresses of this machine behind a real balancer, and load on them; needs no root."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tools.fleet.load import POINTS
from tools.fleet.proxy import Proxy

ROOT = Path(__file__).resolve().parents[2]
DELAY_S = 0.05  # of each batch: so there is always a request on its way
READY_S = 60.0


class Host:
    """One host that serves the naive family.

    Args:
        folder: with the settings ``tsfm.ini``; for its log.
        before: words of each of its commands before the command's own, to run it in another namespace.
    """

    def __init__(self, address: str, folder: Path, before: Sequence[str] = ()) -> None:
        self.address = address
        self._folder, self._before = folder, before
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the service; it loads while this returns."""
        command = [*self._before, sys.executable, "-m", "tsfm", "serve", "naive", "--host", self.address]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "TSFM_INI": str(self._folder / "tsfm.ini")}
        with (self._folder / f"{self.address}.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stderr=log)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        if self.process is None:
            raise RuntimeError(f"{self.address} has no service")
        self.process.send_signal(number)

    def wait(self) -> None:
        if self.process:
            self.process.wait(60)


class Load:
    """Clients that know every answer, in a process of their own, from their first answers until ``end``.

    Args:
        before: as in ``Host``.
    """

    def __init__(self, url: str, clients: int, points: int, before: Sequence[str] = ()) -> None:
        words = [*before, sys.executable, "-m", "tools.fleet.load", url, str(clients), str(points)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(words, cwd=ROOT, text=True, **pipes)
        if self._process.stdout is None or self._process.stdout.readline() != "begun\n":
            self.kill()
            raise RuntimeError("the load did not begin")

    def end(self) -> dict[str, object]:
        """End it when every request on its way has its answer; what the clients saw, see ``tools.fleet.load``."""
        output, _ = self._process.communicate(timeout=120)
        facts: dict[str, object] = json.loads(output)
        return facts

    def kill(self) -> None:
        """End it at once, unless it has ended."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


class Fleet:
    """Some hosts, and a balancer at 127.0.0.1 before them; use as a context manager.

    Args:
        folder: for settings, the model's trouble and logs.
        port: of the family, at every address.
        settings: further lines of the section of the family.
        trouble: of the model, see ``families/naive.py``.
    """

    def __init__(self, folder: Path, port: int, addresses: Sequence[str], settings: str = "", **trouble: float) -> None:
        self._folder, self._port = folder, port
        self.hosts = [self._host(address) for address in addresses]
        (folder / "naive.json").write_text(json.dumps({"delay_s": DELAY_S} | trouble))
        (folder / "tsfm.ini").write_text(
            f"[naive]\nport = {port}\nthreads = 1\nmodel_folder = {folder}\n{settings}\n"
            f"[balancer]\nhosts = {' '.join(addresses)}\nfamilies = naive\n"
        )
        self.proxy: Proxy | None = None

    def __enter__(self) -> Self:
        try:
            self._connect()
            for host in self.hosts:
                host.start()
            self.begin()
            self.proxy = Proxy(self._folder, self._folder / "tsfm.ini", self._asker())
            self.until_ready("127.0.0.1")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.proxy:
            self.proxy.stop()
        for host in self.hosts:
            if host.alive:
                host.signal(signal.SIGKILL)
            host.wait()
        self._disconnect()

    @property
    def url(self) -> str:
        """Where the balancer listens, as seen by the clients."""
        return f"http://127.0.0.1:{self._port}"

    def begin(self) -> None:
        """Have the hosts serve, once all are started."""
        self.until_whole()

    def until_whole(self) -> None:
        """Wait until every host serves."""
        for host in self.hosts:
            self.until_ready(host.address)

    def load(self, clients: int, points: int = POINTS) -> Load:
        """Begin the load, of series of so many points; returns once every client has its first answer."""
        return Load(self.url, clients, points, self._asker())

    def status(self, address: str, path: str = "/readyz", body: str | None = None) -> int:
        """The status of an answer of a service, or of the balancer; 0: there was none."""
        posted = [] if body is None else ["--data", body]
        command = [
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            *posted,
            f"http://{address}:{self._port}{path}",
        ]
        done = subprocess.run([*self._asker(), *command], capture_output=True, text=True)
        return int(done.stdout)

    def until_ready(self, address: str, status: int = 200) -> None:
        """Wait until /readyz of a service, or of the balancer, gives the status."""
        ends = time.monotonic() + READY_S
        while time.monotonic() < ends:
            if self.status(address) == status:
                return
            time.sleep(0.1)  # a service tells nobody when it is ready
        logs = "\n".join(path.read_text(errors="replace")[-1000:] for path in self._folder.glob("*.log"))
        raise RuntimeError(f"{address}: no {status} at /readyz after {READY_S:g} s:\n{logs}")

    def _host(self, address: str) -> Host:
        return Host(address, self._folder)

    def _asker(self) -> Sequence[str]:
        """Words before each command of the host that asks."""
        return ()

    def _connect(self) -> None:
        """Make the network between the hosts."""

    def _disconnect(self) -> None:
        """Remove it."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
