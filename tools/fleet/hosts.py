"""Hosts as network namespaces on one bridge: each with an address, a cable and a service of its own. Needs root."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tools.fleet.proxy import Proxy

ROOT = Path(__file__).resolve().parents[2]
PORT = 6099
CLIENT = "10.77.0.1"
DELAY_S = 0.05  # of each batch: so there is always a request on its way
READY_S = 60.0


class Host:
    """One host that serves the naive family."""

    def __init__(self, name: str, address: str, folder: Path) -> None:
        self.name, self.address = name, address
        self._folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the service; it loads while this returns."""
        command = ["ip", "netns", "exec", self.name, sys.executable, "-m", "tsfm", "serve", "naive"]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "TSFM_INI": str(self._folder / "tsfm.ini")}
        with (self._folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen([*command, "--host", self.address], env=environment, stderr=log)

    def signal(self, number: signal.Signals) -> None:
        if self.process is None:
            raise RuntimeError(f"{self.name} has no service")
        self.process.send_signal(number)

    def wait(self) -> None:
        if self.process:
            self.process.wait(60)


class Fleet:
    """Some hosts, and a host that asks, with the balancer at 127.0.0.1; use as a context manager."""

    def __init__(self, folder: Path, count: int = 2) -> None:
        mark = f"tsfm{os.getpid()}"
        self.client = f"{mark}a"
        self._folder = folder
        self.hosts = [Host(f"{mark}h{n}", f"10.77.0.{11 + n}", folder) for n in range(count)]
        (folder / "naive.json").write_text(json.dumps({"delay_s": DELAY_S}))
        (folder / "tsfm.ini").write_text(
            f"[naive]\nport = {PORT}\nthreads = 1\nmodel_folder = {folder}\ndeadline_s = 30\nstall_s = 60\n"
            f"[balancer]\nhosts = {' '.join(host.address for host in self.hosts)}\nfamilies = naive\n"
        )
        self.proxy: Proxy | None = None

    def __enter__(self) -> Fleet:
        try:
            self._connect()
            for host in self.hosts:
                host.start()
            for host in self.hosts:
                self.until_ready(host.address)
            self.proxy = Proxy(self._folder, self._folder / "tsfm.ini", self._within(self.client))
            self.until_ready("127.0.0.1")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.proxy:
            self.proxy.stop()
        for host in self.hosts:
            if host.process and host.process.poll() is None:
                host.process.kill()
            host.wait()
        for name in [*(host.name for host in self.hosts), self.client]:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)

    def plug(self, host: Host, state: str) -> None:
        """Put a host's cable ``up`` or ``down``, at the other end."""
        _ip("-n", self.client, "link", "set", f"v{host.address.rpartition('.')[2]}", state)

    def load(self, seconds: float, clients: int) -> subprocess.Popen[str]:
        """Begin the load; returns once every client has its first answer."""
        words = ["-m", "tools.fleet.load", f"http://127.0.0.1:{PORT}", str(seconds), str(clients)]
        process = subprocess.Popen(
            [*self._within(self.client), sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        if process.stdout is None or process.stdout.readline() != "begun\n":
            raise RuntimeError("the load did not begin")
        return process

    def until_ready(self, address: str) -> None:
        """Wait until a service, or the balancer, answers on the network of the host that asks."""
        ends = time.monotonic() + READY_S
        command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://{address}:{PORT}/readyz"]
        while time.monotonic() < ends:
            done = subprocess.run([*self._within(self.client), *command], capture_output=True, text=True)
            if done.stdout == "200":
                return
            time.sleep(0.1)  # a service tells nobody when it is ready
        logs = "\n".join(path.read_text(errors="replace")[-1000:] for path in self._folder.glob("*.log"))
        raise RuntimeError(f"{address} is not ready after {READY_S:g} s:\n{logs}")

    @staticmethod
    def _within(name: str) -> list[str]:
        return ["ip", "netns", "exec", name]

    def _connect(self) -> None:
        _ip("netns", "add", self.client)
        _ip("-n", self.client, "link", "set", "lo", "up")
        _ip("-n", self.client, "link", "add", "br0", "type", "bridge")
        _ip("-n", self.client, "address", "add", f"{CLIENT}/24", "dev", "br0")
        _ip("-n", self.client, "link", "set", "br0", "up")
        for host in self.hosts:
            end = f"v{host.address.rpartition('.')[2]}"
            _ip("netns", "add", host.name)
            _ip("-n", host.name, "link", "set", "lo", "up")
            _ip("-n", host.name, "link", "add", "eth0", "type", "veth", "peer", "name", end, "netns", self.client)
            _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
            _ip("-n", host.name, "link", "set", "eth0", "up")
            _ip("-n", self.client, "link", "set", end, "master", "br0", "up")


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
