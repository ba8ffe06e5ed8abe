"""The section [fleet] of tsfm.ini: the hosts that Ray joins, and what they serve."""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from tsfm import settings
from tsfm.errors import ConfigError
from tsfm.fleet.balancer import chosen, family_names
from tsfm.kinds import IPNetwork, Key, absolute, address, networks, whole
from tsfm.settings import Settings

HEAD_UNIT, NODE_UNIT = "tsfm-fleet-head.service", "tsfm-fleet-node.service"
TOKEN = "/etc/taos/tsfm-fleet.token"  # noqa: S105  a file
PORT = 8000

KEYS: dict[str, Key] = {
    "head": Key(address, "", "IP address of the fleet's head; empty: this host is in no fleet"),
    "network": Key(networks, "", "networks of the fleet's hosts and of its balancers; nobody else may connect"),
    "address": Key(address, "", "this host's own address in the network; empty: the one that leads to the head"),
    "cpus": Key(whole(0, 1024), "", "CPUs of this host for replicas; empty: all of them on a node, none on the head"),
    "port": Key(whole(1024, 65535), str(PORT), "port at which each node takes requests, on all of its addresses"),
    "families": Key(family_names, "", "on the head: families to serve; empty: those that are installed there"),
    "replicas": Key(whole(0, 1000), "0", "on the head: replicas of each family; 0: one on each node with its weights"),
    "replica_cpus": Key(
        whole(1, 256), "1", "on the head: CPUs that a replica books and uses; threads in a family's section goes before"
    ),
    "token_file": Key(absolute, TOKEN, "file with the token that all hosts of the fleet share"),
}


@dataclass(frozen=True)
class Fleet:
    """What this host is in its fleet.

    Attributes:
        head: address of the head.
        network: who may connect to the ports of Ray and of the replicas; never empty.
        address: this host's own.
        cpus: for replicas on this host.
        families: with the settings that hold for each on this host.
        replicas: of each family; 0: one on each node that has the weights.
    """

    file: Path
    head: str
    network: tuple[IPNetwork, ...]
    address: str
    cpus: int
    port: int
    families: dict[str, Settings]
    replicas: int
    replica_cpus: int
    token_file: Path

    @property
    def is_head(self) -> bool:
        return self.address == self.head

    @property
    def deadline_s(self) -> int:
        """Of the family with the longest."""
        return max((int(one.deadline_s) for one in self.families.values()), default=60)

    def token(self) -> str:
        """The fleet's token.

        Raises:
            ConfigError: there is none, or it cannot be read.
        """
        try:
            found = self.token_file.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            made = "run: tsfm fleet init" if self.is_head else f"copy it from the head, {self.head}"
            raise ConfigError(f"{self.token_file}: no such file; {made}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self.token_file}: cannot be read: {error}; run this as root") from None
        if not found:
            raise ConfigError(f"{self.token_file}: expected a token, got an empty file")
        return found


def read(file: Path | None = None) -> Fleet | None:
    """The section [fleet] of tsfm.ini; None if it names no head.

    Raises:
        ConfigError: a key is wrong, or keys do not fit together; the message has the file, section and key.
    """
    file = file or settings.path()
    values = SimpleNamespace(**settings.section(settings.FLEET, KEYS, file))
    if not values.head:
        return None
    where = f"{file}: [{settings.FLEET}]"
    if not values.network:
        raise ConfigError(
            f"{where} network: expected the network of the fleet's hosts, such as 10.0.0.0/24, found none"
        )
    own = values.address or _toward(values.head, where)
    for key, found in (("head", values.head), ("address", own)):
        if not any(ipaddress.ip_address(found) in network for network in values.network):
            shown = " ".join(map(str, values.network))
            raise ConfigError(f"{where} {key}: expected an address in network = {shown}, got {found}")
        if ":" in found or found == "127.0.0.1":  # Ray puts another one in the place of 127.0.0.1
            raise ConfigError(f"{where} {key}: expected an IPv4 address that other hosts reach, got {found}")
    families = chosen(values.families, file)
    for name, own_settings in families.items():
        _check(own_settings, name)
    everything = len(os.sched_getaffinity(0)) if own != values.head else 0
    cpus = everything if values.cpus is None else int(values.cpus)
    return Fleet(
        file, values.head, values.network, own, cpus, int(values.port), families, int(values.replicas),
        int(values.replica_cpus), Path(values.token_file),
    )  # fmt: skip


def _check(chosen: Settings, family: str) -> None:
    """A replica runs our own network on CPUs.

    Raises:
        ConfigError
    """
    for key, usual in (("engine", "native"), ("device", "cpu")):
        if getattr(chosen, key) != usual:
            raise ConfigError(
                f"{chosen.sources[key]}: expected {usual}, since a fleet serves {family} with nothing else, got "
                f"{getattr(chosen, key)}; serve it on hosts of its own behind the balancer"
            )


def _toward(head: str, where: str) -> str:
    """This host's address on the way to the head; nothing is sent."""
    family = socket.AF_INET6 if ":" in head else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((head, PORT))
        except OSError as error:
            raise ConfigError(f"{where} head: {head} cannot be reached: {error.strerror}; set address") from None
        return str(probe.getsockname()[0])
