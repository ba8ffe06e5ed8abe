"""A key of tsfm.ini, and the kinds of values that one may have: each parses a text, or says what was expected."""

from __future__ import annotations

import configparser
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
MIRROR = "https://hf-mirror.com"


@dataclass(frozen=True)
class Key:
    """One setting: the function that parses its text, its default text and its meaning."""

    read: Callable[[str], object]
    default: str
    meaning: str


def whole(low: int, high: int) -> Callable[[str], int]:
    """A parser for whole numbers from ``low`` to ``high``."""

    def read(text: str) -> int:
        # int() also accepts signs, spaces, 1_000 and the digits of other scripts.
        if not re.fullmatch("[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"expected a whole number from {low} to {high}, got {text!r}")
        return int(text)

    return read


def one_of(*choices: str) -> Callable[[str], str]:
    """A parser for one of the words in ``choices``."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}, got {text!r}")
        return text

    return read


def switch(text: str) -> bool:
    """A switch: yes/no, true/false, on/off or 1/0, upper or lower case; the text False is false."""
    states = configparser.ConfigParser.BOOLEAN_STATES
    if text.lower() not in states:
        raise ValueError(f"expected yes or no, got {text!r}")
    return states[text.lower()]


def hub_address(text: str) -> str:
    """The hub's address, without a slash at its end: no is empty, yes is the public mirror, or any address."""
    if text.lower().startswith(("https://", "http://")):
        try:
            host = urlsplit(text).hostname
        except ValueError:
            host = None
        if not host or re.search(r"\s", text):
            raise ValueError(f"expected an address such as {MIRROR}, got {text!r}")
        return text.rstrip("/")
    try:
        return MIRROR if switch(text) else ""
    except ValueError:
        raise ValueError(f"expected yes, no or an address that begins with https://, got {text!r}") from None


def address(value: str) -> str:
    """An IP address. A host name is rejected, because it may resolve to several addresses and DNS may change them."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(f"expected an IP address such as 127.0.0.1 or 0.0.0.0, got {value!r}") from None


def host_name(value: str) -> str:
    """A host name or an IP address."""
    name = re.fullmatch("[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?", value)
    if not name and not re.fullmatch("[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", value):
        raise ValueError(f"expected a host name or an IP address, got {value!r}")
    return value


def networks(value: str) -> tuple[IPNetwork, ...]:
    """IP networks and addresses, separated by spaces or commas."""
    return tuple(_network(word) for word in value.replace(",", " ").split())


def _network(word: str) -> IPNetwork:
    try:
        return ipaddress.ip_network(word)
    except ValueError as error:
        # 10.0.0.1/8 may mean the one address or the network.
        try:
            meant = f"; write {ipaddress.ip_network(word, strict=False)} or {word.partition('/')[0]}"
        except ValueError:
            meant = ""
        raise ValueError(f"expected networks such as 10.0.0.0/8, but {error}{meant}") from None


def device(value: str) -> str:
    """A device in torch's notation. ``tsfm.system.devices`` checks whether it exists, because that needs torch."""
    if not re.fullmatch("cpu|cuda(:(0|[1-9][0-9]?))?", value):
        raise ValueError(f"expected cpu, cuda or cuda:N in small letters, got {value!r}")
    return value


def text(value: str) -> str:
    """Any text on one line."""
    if "\n" in value or has_comment(value):
        raise ValueError(f"expected one word or path, got {value!r}")
    return value


def absolute(value: str) -> str:
    """An absolute path. A relative path would name a different file in each working directory."""
    if not text(value).startswith("/"):
        raise ValueError(f"expected a path that begins with /, got {value!r}")
    return value


def has_comment(value: str) -> bool:
    """What looks like a comment behind the value."""
    return bool(re.search(r"\s[#;]", value))
