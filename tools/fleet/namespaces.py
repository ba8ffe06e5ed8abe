"""Hosts as network namespaces on one bridge: each with an address, a cable and a service of its own. Needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tools.fleet.hosts import Fleet, Host

PORT = 6099
NETWORK = "10.77.0"


class Namespaces(Fleet):
    """Some hosts with cables, and a host that asks, with the balancer; the arguments are those of ``Fleet``."""

    def __init__(self, folder: Path, count: int, settings: str = "", **trouble: float) -> None:
        self._mark = f"tsfm{os.getpid()}{folder.name}"
        addresses = [f"{NETWORK}.{11 + number}" for number in range(count)]
        super().__init__(folder, PORT, addresses, settings, **trouble)

    def plug(self, host: Host, state: str) -> None:
        """Put a host's cable ``up`` or ``down``, at the other end."""
        _ip("-n", self._client, "link", "set", f"v{_number(host.address)}", state)

    @property
    def _client(self) -> str:
        return f"{self._mark}a"

    def _name(self, address: str) -> str:
        return f"{self._mark}h{_number(address)}"

    def _host(self, address: str) -> Host:
        return Host(address, self._folder, _within(self._name(address)))

    def _asker(self) -> Sequence[str]:
        return _within(self._client)

    def _connect(self) -> None:
        client = self._client
        _ip("netns", "add", client)
        _ip("-n", client, "link", "set", "lo", "up")
        _ip("-n", client, "link", "add", "br0", "type", "bridge")
        _ip("-n", client, "address", "add", f"{NETWORK}.1/24", "dev", "br0")
        _ip("-n", client, "link", "set", "br0", "up")
        for host in self.hosts:
            name, end = self._name(host.address), f"v{_number(host.address)}"
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", end, "netns", client)
            _ip("-n", name, "address", "add", f"{host.address}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", client, "link", "set", end, "master", "br0", "up")

    def _disconnect(self) -> None:
        for name in [*(self._name(host.address) for host in self.hosts), self._client]:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def _number(address: str) -> str:
    return address.rpartition(".")[2]


def _within(name: str) -> list[str]:
    return ["ip", "netns", "exec", name]


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
