"""The URL under which each family is registered, and which existing URLs it may replace."""

from __future__ import annotations

import http.client
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from tsfm import card, paths, settings
from tsfm.errors import ConfigError
from tsfm.fleet import balancer

KNOWN_KEYS = frozenset({"tdtsfm_1", "timemoe-fc", "chronos", "moirai", "timesfm", "moment"})
"""The keys that TDgpt's own adapters use."""

OURS = "tsfm"
"""The value of the header ``Server`` in our services' answers."""

_SHIPPED_PORTS = {
    "tdtsfm_1": {6036, 6061},
    "timemoe-fc": {6037, 6062},
    "chronos": {6038, 6063},
    "moirai": {6039, 6064},
    "timesfm": {6061, 6065},
    "moment": {6062, 6066},
}
_SHIPPED_FIRST = range(5000, 5005)  # ports of the first generation, for any model
_SHIPPED_PATHS = {"/ds_predict", "/tdtsfm", "/timemoe", "/imputation"}
_HERE = {"127.0.0.1", "localhost", "0.0.0.0", "::1"}  # noqa: S104 - compared with, never bound
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104


@dataclass(frozen=True)
class Endpoint:
    """The address of one family's service, and the name that SQL uses for it."""

    family: str
    key: str
    host: str
    port: int
    path: str
    task: str
    summary: str

    @property
    def url(self) -> str:
        return self.at(self.path)

    def at(self, path: str) -> str:
        """The URL of another path of the same service."""
        return f"http://{settings.authority(self.host, self.port)}{path}"


def of(family: str) -> Endpoint:
    """The family's service on this host, from its card and tsfm.ini.

    Raises:
        ConfigError: tsfm.ini is wrong.
    """
    facts = card.read(family)
    values = settings.read(family, {})
    host = _ANY.get(values.host or "", values.host)
    # A per cent sign (an IPv6 zone) breaks TDgpt's reader of the ini.
    if not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+", host):
        raise ConfigError(f"[{family}] host: expected a host name or an IP address, got {host!r}")
    return Endpoint(family, facts.keys[0], host, values.port or facts.port, facts.paths[0], facts.task, facts.summary)


def installed() -> list[Endpoint]:
    """The endpoints of all installed families.

    Raises:
        ConfigError: tsfm.ini is wrong.
    """
    known = set(card.names())
    return [of(family) for family in paths.installed_families() if family in known]


def served() -> list[Endpoint]:
    """The endpoints for TDgpt: the balancer's for the families that it balances, installed here or not, and the others.

    Raises:
        ConfigError: tsfm.ini is wrong.
    """
    found = {endpoint.family: endpoint for endpoint in installed()}
    if balanced := balancer.read():
        host = _ANY.get(balanced.listen, balanced.listen)
        found |= {family: replace(of(family), host=host) for family in balanced.families}
    return [found[family] for family in sorted(found)]


def may_replace(endpoint: Endpoint, url: str) -> bool:
    """Whether an existing URL for the key is one that TDgpt ships and no service answers there."""
    return _is_shipped(endpoint.key, url) and not answers(url)


def _is_shipped(key: str, url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    plain = parts.scheme == "http" and not (parts.query or parts.fragment or parts.username)
    ports: Collection[int] = _SHIPPED_PORTS.get(key, set())
    return (
        plain and parts.hostname in _HERE and parts.path in _SHIPPED_PATHS and (port in ports or port in _SHIPPED_FIRST)
    )


def answers(url: str, timeout_s: float = 0.5) -> bool:
    """Whether somebody else's model service answers at the URL.

    404 means another model: generations of TDgpt and this package give some ports to different models. If our own
    service answers there, it has not been restarted on its new port yet. A server that accepts the connection but
    does not answer counts as busy: TDgpt's documented scripts are silent during a forecast.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.connect()
    except OSError:
        return False
    try:
        connection.request("GET", parts.path)
        response = connection.getresponse()
        return response.status != 404 and response.getheader("Server") != OURS
    except (OSError, http.client.HTTPException):
        return True
    finally:
        connection.close()
