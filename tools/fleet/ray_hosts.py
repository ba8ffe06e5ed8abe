"""A fleet of Ray on hosts that are network namespaces: a head, nodes, and a host that asks, with the balancer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Self

from tools.fleet import ray
from tools.fleet.hosts import Host
from tools.fleet.namespaces import Namespaces
from tools.fleet.ray import RayHost

HEAD = "10.77.0.11"
# `ray start` looks for other raylets among all processes that it sees.
APART = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
USUAL = "deadline_s = 30\nstall_s = 60"
SETTINGS = """\
[naive]
threads = 1
model_folder = {model}
{family}
[fleet]
head = {head}
address = {address}
network = 10.77.0.0/24
cpus = {cpus}
families = naive
token_file = FOLDER/token
{fleet}
"""


class Member(Host):
    """The head or a node: what its unit runs, in its namespace.

    Attributes:
        ray: the processes.
    """

    def __init__(self, address: str, folder: Path, before: Sequence[str]) -> None:
        super().__init__(address, folder, before)
        self.ray = RayHost("", [*before, *APART])
        self.configure()

    def configure(self, fleet: str = "", family: str = USUAL) -> None:
        """Its tsfm.ini, with further lines of [fleet] and of the family."""
        cpus = 0 if self.address == HEAD else 1
        given = {"head": HEAD, "address": self.address, "cpus": cpus, "model": self._folder}
        self.ray.configure(SETTINGS.format(**given, fleet=fleet, family=family))

    def start(self) -> None:
        """Start it; it begins while this returns."""
        self.ray.start()
        self.process = self.ray.process

    def end(self) -> None:
        """Kill all of it at once, and wait."""
        self.ray.stop()


class RayFleet(Namespaces):
    """A head and nodes that serve the naive family; use as a context manager. Needs root.

    Args:
        trouble: of the model, see ``families/naive.py``.
    """

    head: Member
    nodes: list[Member]
    _lock: IO[str]

    def __init__(self, folder: Path, nodes: int, **trouble: float) -> None:
        super().__init__(folder, nodes + 1, **trouble)
        self.head, *self.nodes = self.hosts
        ini = folder / "tsfm.ini"
        ini.write_text(ini.read_text().replace(f"hosts = {HEAD} ", "hosts = ") + "fleet_port = 8000\n")

    def __enter__(self) -> Self:
        self._lock = ray.lock()
        return super().__enter__()

    def __exit__(self, *_: object) -> None:
        if self.proxy:
            self.proxy.stop()
        for member in (*self.nodes, self.head):
            member.ray.remove()
        self._disconnect()
        self._lock.close()

    def begin(self) -> None:
        self.head.ray.until_nodes(len(self.nodes))
        self.apply()

    def until_whole(self) -> None:
        self.head.ray.until_complete()

    def apply(self, fleet: str = "", family: str = USUAL) -> None:
        """`tsfm fleet apply` on the head with these lines in its tsfm.ini, and wait until all is done."""
        self.head.configure(fleet, family)
        self.head.ray.apply()
        self.until_whole()

    def _host(self, address: str) -> Member:
        return Member(address, self._folder, ["ip", "netns", "exec", self._name(address)])
