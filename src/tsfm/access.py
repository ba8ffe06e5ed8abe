"""Who may ask: networks and a bearer token, for a service that listens beyond loopback."""

from __future__ import annotations

import hmac
import ipaddress
import logging
from pathlib import Path

from flask import request

from tsfm.errors import ConfigError, Forbidden, Unauthorized
from tsfm.settings import Settings

log = logging.getLogger(__name__)
# A probe may learn from anywhere, and without a secret, that the process lives.
OPEN_PATHS = ("/healthz", "/readyz")


class Access:
    """Checks each request; with neither setting, everyone who reaches the port may ask.

    Raises:
        ConfigError: the token's file cannot be read or is empty.
    """

    def __init__(self, settings: Settings) -> None:
        self._networks = settings.allow or ()
        self._token = _token(settings.token_file, settings.sources["token_file"]) if settings.token_file else None
        if not ipaddress.ip_address(settings.host).is_loopback and not self._networks and not self._token:
            log.warning("listening on %s for everyone: set allow or token_file in tsfm.ini", settings.host)

    def check(self) -> None:
        """Refuse the present request if it comes from elsewhere or without the token."""
        if request.path in OPEN_PATHS:
            return
        if self._networks:
            sender = ipaddress.ip_address(request.remote_addr or "0.0.0.0")  # noqa: S104  matches no network
            mapped = getattr(sender, "ipv4_mapped", None)
            if not any((mapped or sender) in network for network in self._networks):
                raise Forbidden(f"{mapped or sender} is in none of the networks that may ask")
        if self._token:
            given = request.headers.get("Authorization", "").encode()
            if not hmac.compare_digest(given, b"Bearer " + self._token):
                raise Unauthorized("Authorization: expected Bearer and the token of token_file")


def _token(file: str, source: str) -> bytes:
    try:
        token = Path(file).read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"{source}: {file} cannot be read: {error.strerror}") from error
    if not token:
        raise ConfigError(f"{source}: {file} is empty")
    return token
