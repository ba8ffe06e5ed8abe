"""Who may ask: networks and a bearer token, for a service that listens beyond loopback.

Both are checked when a request's headers are complete: the body of a refused request is never stored.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tsfm.errors import ConfigError, Forbidden, RequestError, Unauthorized
from tsfm.kinds import IPNetwork
from tsfm.logs import ESCAPES
from tsfm.settings import Settings

log = logging.getLogger(__name__)
# Probes may ask these from any network and without the token.
OPEN_PATHS = ("/healthz", "/readyz", "/ping", "/v2/health/live", "/v2/health/ready")
# The page itself says nothing of the service, and a browser that opens it has no way to send a token: it asks for one.
PAGE = re.compile(r"/|/page/[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class Head:
    """The facts of a request that its headers give."""

    address: str
    method: str
    path: str
    authorization: str
    has_body: bool


class Access:
    """The rules of one service; with neither networks nor a token, everyone who reaches the port may ask.

    Attributes:
        on_refusal: called with the method and the status of each refused request.

    Raises:
        ConfigError: the token's file cannot be read or is empty.
    """

    def __init__(self, settings: Settings) -> None:
        self._networks: tuple[IPNetwork, ...] = settings.allow or ()
        self._token = _token(settings.token_file, settings.sources["token_file"]) if settings.token_file else None
        self.on_refusal: Callable[[str, int], object] = lambda method, status: None
        if not ipaddress.ip_address(settings.host).is_loopback and not self._networks and not self._token:
            log.warning("listening on %s for everyone: set allow or token_file in tsfm.ini", settings.host)

    @property
    def restricts(self) -> bool:
        """Some requests are refused."""
        return bool(self._networks or self._token)

    def knows(self, address: str) -> bool:
        """The address is in one of the networks of ``allow``, or there are none."""
        return allows(self._networks, address)

    def check(self, head: Head) -> None:
        """Refuse a request from another network or without the token; open paths are not checked, but take no body.

        Raises:
            Forbidden, Unauthorized
        """
        try:
            self._check(head)
        except RequestError as error:
            log.info("%s %s: %d %s", head.method[:20], head.path[:80].translate(ESCAPES), error.status, error)
            self.on_refusal(head.method, error.status)
            raise

    def _check(self, head: Head) -> None:
        if head.path in OPEN_PATHS and not head.has_body:
            return
        if not self.knows(head.address):
            raise Forbidden(f"{plain(head.address)} is in none of the networks of allow")
        if not head.has_body and head.method in ("GET", "HEAD") and PAGE.fullmatch(head.path):
            return
        if self._token and not hmac.compare_digest(head.authorization.encode("latin-1"), b"Bearer " + self._token):
            raise Unauthorized("Authorization: expected Bearer and the token of token_file")


def rules(settings: Settings) -> Access | None:
    """The rules of one service; None where everyone who reaches the port may ask.

    Raises:
        ConfigError: the token's file cannot be read or is empty.
    """
    access = Access(settings)
    return access if access.restricts else None


def allows(networks: tuple[IPNetwork, ...], address: str) -> bool:
    """The address is in one of the networks, or there are none."""
    return not networks or any(plain(address) in network for network in networks)


def plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address; an IPv4 address in IPv6 form as the IPv4 address."""
    sender = ipaddress.ip_address(address)
    return getattr(sender, "ipv4_mapped", None) or sender


def _token(file: str, source: str) -> bytes:
    try:
        token = Path(file).read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"{source}: {file} cannot be read: {error.strerror}") from error
    if not token:
        raise ConfigError(f"{source}: {file} is empty")
    return token
