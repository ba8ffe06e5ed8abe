"""The section [balancer] of tsfm.ini: which hosts serve together, and for whom."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from tsfm import card, inifile, paths, settings
from tsfm.card import Card
from tsfm.errors import ConfigError
from tsfm.kinds import IPNetwork, Key, address, networks, whole
from tsfm.settings import Settings

UNIT = "tsfm-balancer.service"
FREE_PORTS = range(1024, 65536)  # the balancer runs without the right to use lower ones


def _hosts(value: str) -> tuple[str, ...]:
    """IP addresses, separated by spaces or commas; each once."""
    found = tuple(address(word) for word in value.replace(",", " ").split())
    if twice := next((one for one in found if found.count(one) > 1), None):
        raise ValueError(f"expected each host once, got {twice} twice")
    if unusable := next((one for one in found if ipaddress.ip_address(one).is_unspecified), None):
        raise ValueError(f"expected addresses of hosts, got {unusable}")
    return found


def family_names(value: str) -> tuple[str, ...]:
    """Names of families, separated by spaces or commas."""
    known = card.names()
    for word in (words := value.replace(",", " ").split()):
        if word not in known:
            shown = ", ".join(card.names(packaged_only=True))
            raise ValueError(f"expected families among {shown}, got {word!r}{inifile.nearest(word, known)}")
    return tuple(dict.fromkeys(words))


KEYS: dict[str, Key] = {
    "hosts": Key(
        _hosts, "", "IP addresses of the hosts that serve, separated by spaces; empty: this host has no balancer"
    ),
    "families": Key(family_names, "", "families to balance; empty: those that are installed on this host"),
    "fleet_port": Key(
        whole(1024, 65535),
        "",
        "port at which the hosts take requests for all families, as nodes of a fleet do: 8000 unless [fleet] says "
        "otherwise; empty: the hosts run tsfm@FAMILY, each at its own port",
    ),
    "listen": Key(address, "127.0.0.1", "IP address that the balancer listens on, at each family's port"),
    "allow": Key(networks, "", "networks of clients that may connect to the balancer; empty: all networks"),
    "check_s": Key(whole(1, 60), "1", "seconds between two checks of each host"),
    "buffer_kib": Key(
        whole(16, 1024),
        "128",
        "requests up to this size, KiB, are asked again on another host if the first one dies; each connection may "
        "use twice as much memory",
    ),
}


@dataclass(frozen=True)
class Balancer:
    """What the balancer of this host does.

    Attributes:
        hosts: addresses of the hosts that serve; never empty.
        families: with the settings that hold for each on this host. Its port is that of the balancer and of all hosts.
        fleet_port: of the hosts, if they are nodes of a fleet.
        listen: the balancer's own address.
        allow: networks of clients; empty: all.
    """

    hosts: tuple[str, ...]
    families: dict[str, Settings]
    fleet_port: int | None
    listen: str
    allow: tuple[IPNetwork, ...]
    check_s: int
    buffer_kib: int

    def port(self, family: Card) -> int:
        """Where the balancer listens for the family."""
        return int(self.families[family.name].port or family.port)

    def host_port(self, family: Card) -> int:
        """Where each host serves the family."""
        return self.fleet_port or self.port(family)

    def prefix(self, family: Card) -> str:
        """What precedes the family's paths on the hosts."""
        return fleet_prefix(family.name) if self.fleet_port else ""


def fleet_prefix(family: str) -> str:
    """What precedes the family's paths on the nodes of a fleet."""
    return f"/{family}"


def read(file: Path | None = None) -> Balancer | None:
    """The section [balancer] of tsfm.ini; None if it names no hosts.

    Raises:
        ConfigError: a key is wrong, or keys do not fit together; the message has the file, section and key.
    """
    file = file or settings.path()
    values = SimpleNamespace(**settings.section(settings.BALANCER, KEYS, file))
    if not values.hosts:
        return None
    where = f"{file}: [{settings.BALANCER}]"
    if not (families := chosen(values.families, file)):
        raise ConfigError(f"{where} families: expected the families to balance, since none is installed on this host")
    made = Balancer(
        values.hosts, families, values.fleet_port, values.listen, values.allow or (), int(values.check_s),
        int(values.buffer_kib),
    )  # fmt: skip
    if made.listen in made.hosts:
        raise ConfigError(
            f"{where} listen: expected an address at which no service listens, got {made.listen}, which is one of "
            "hosts; a host that also serves needs host = its own address in the network in [DEFAULT]"
        )
    _check_ports(made, where)
    return made


def chosen(names: Sequence[str], file: Path) -> dict[str, Settings]:
    """The settings of the named families, or if none is named, of those that are installed on this host."""
    names = names or [name for name in paths.installed_families() if name in card.names()]
    return {name: settings.read(name, {}, file) for name in names}


def _check_ports(made: Balancer, where: str) -> None:
    used: dict[int, str] = {}
    for family in map(card.read, made.families):
        port = made.port(family)
        if port not in FREE_PORTS:
            raise ConfigError(f"{where} families: {family.name} has port {port}; expected one from 1024 up")
        if port in used:
            raise ConfigError(f"{where} families: {used[port]} and {family.name} have the same port {port}")
        used[port] = family.name
