"""Settings: one table of keys, read from tsfm.ini; command line beats file beats default."""

from __future__ import annotations

import configparser
import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from tsfm.errors import ConfigError

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
DEFAULT_FILE = Path("/etc/taos/tsfm.ini")
MODEL_ROOT = Path("/var/lib/taos/taosanode/model")
MIRROR = "https://hf-mirror.com"


@dataclass(frozen=True)
class Key:
    """One setting: how its text is read, what it is when nothing is said, and what it means."""

    read: Callable[[str], object]
    default: str
    meaning: str


def whole(low: int, high: int) -> Callable[[str], int]:
    """A reader of whole numbers from ``low`` to ``high``."""

    def read(text: str) -> int:
        expected = f"expected a whole number from {low} to {high}, got {text!r}"
        try:
            value = int(text)
        except ValueError:
            raise ValueError(expected) from None
        if not low <= value <= high:
            raise ValueError(expected)
        return value

    return read


def one_of(*choices: str) -> Callable[[str], str]:
    """A reader of one word out of ``choices``."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}, got {text!r}")
        return text

    return read


def switch(text: str) -> bool:
    """yes/no, true/false, on/off, 1/0, in any case: the text False is false."""
    states = configparser.ConfigParser.BOOLEAN_STATES
    if text.lower() not in states:
        raise ValueError(f"expected yes or no, got {text!r}")
    return states[text.lower()]


def hub_address(text: str) -> str:
    """no (empty), yes (the public mirror) or an address, without a slash at its end."""
    if text.lower().startswith(("https://", "http://")):
        return text.rstrip("/")
    try:
        return MIRROR if switch(text) else ""
    except ValueError:
        raise ValueError(f"expected yes, no or an address that begins with https://, got {text!r}") from None


def address(value: str) -> str:
    """An IP address: a name could stand for several, and then for whatever DNS says."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(f"expected an IP address such as 127.0.0.1 or 0.0.0.0, got {value!r}") from None


def networks(value: str) -> tuple[IPNetwork, ...]:
    """IP networks and addresses, separated by spaces or commas."""
    try:
        return tuple(ipaddress.ip_network(word) for word in value.replace(",", " ").split())
    except ValueError as error:
        raise ValueError(f"expected networks such as 10.0.0.0/8, but {error}") from None


def text(value: str) -> str:
    """Any text."""
    return value


KEYS: dict[str, Key] = {
    "host": Key(address, "127.0.0.1", "address to listen on; 0.0.0.0 lets other hosts in"),
    "port": Key(whole(1, 65535), "", "port to listen on; empty: the family's own"),
    "model_folder": Key(text, "", f"where the weights lie; empty: {MODEL_ROOT}/FAMILY"),
    "checkpoint": Key(text, "", "which weights: a name or an index from `tsfm list`; empty: the first that is there"),
    "mirror": Key(hub_address, "no", "where weights come from: no, yes (hf-mirror.com) or an address"),
    "device": Key(text, "cpu", "cpu, cuda or cuda:N"),
    "dtype": Key(one_of("auto", "float32", "bfloat16"), "auto", "arithmetic; auto: the fastest that this CPU has"),
    "threads": Key(whole(0, 1024), "0", "CPU threads of the model; 0: as many as CPUs that it may use"),
    "min_rows": Key(whole(1, 40_000), "10", "fewest points of input in one request"),
    "max_rows": Key(whole(1, 10_000_000), "40000", "most points of input in one request"),
    "max_horizon": Key(whole(1, 1024), "1024", "most steps to forecast in one request"),
    "max_covariates": Key(whole(0, 1000), "64", "most covariates in one request, past and future together"),
    "max_body_mib": Key(whole(1, 1024), "32", "largest request body, MiB"),
    "queue": Key(whole(1, 1000), "64", "requests that may wait or run at once; more get 429"),
    "queue_mib": Key(whole(1, 4096), "128", "bodies of waiting requests together, MiB; more get 429"),
    "deadline_s": Key(whole(1, 3600), "60", "a request not answered by then gets 504, seconds"),
    "stall_s": Key(whole(1, 3600), "120", "one batch longer than this counts as hung: the watchdog restarts, seconds"),
    "allow": Key(networks, "", "networks that may ask, 10.0.0.0/8 192.168.1.7 say; empty: all that reach the port"),
    "token_file": Key(text, "", "file with a bearer token that every request must bring; empty: none"),
    "log_level": Key(one_of("debug", "info", "warning", "error"), "info", "least level that is logged"),
}


class Settings(SimpleNamespace):
    """The values of one family's settings, one attribute for each key of ``KEYS``."""


def read(family: str, given: Mapping[str, str | None], file: Path | None = None) -> Settings:
    """The family's settings.

    Args:
        given: texts from the command line by key; None means not given.
        file: the ini file; None: $TSFM_INI, else /etc/taos/tsfm.ini, which need not exist.

    Raises:
        ConfigError: the sentence names the file or option, section and key.
    """
    path = file or Path(os.environ.get("TSFM_INI", DEFAULT_FILE))
    said = _section(path, family)
    values = {}
    for name, key in KEYS.items():
        option = given.get(name)
        source = f"--{name.replace('_', '-')}" if option is not None else f"{path}: [{family}] {name}"
        value = option if option is not None else said.get(name, key.default)
        try:
            values[name] = key.read(value) if value or not _may_be_empty(key) else None
        except ValueError as error:
            raise ConfigError(f"{source}: {error}") from None
    return Settings(**values)


def _may_be_empty(key: Key) -> bool:
    return key.default == ""


def _section(path: Path, family: str) -> dict[str, str]:
    # Passwords and paths may hold a per cent sign: no interpolation.
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8"), source=str(path))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except configparser.Error as error:
        raise ConfigError(" ".join(str(error).split())) from None
    section = dict(parser[family]) if parser.has_section(family) else dict(parser.defaults())
    if unknown := sorted(set(section) - set(KEYS)):
        raise ConfigError(f"{path}: [{family}] {unknown[0]}: unknown key; known are {', '.join(KEYS)}")
    return section
