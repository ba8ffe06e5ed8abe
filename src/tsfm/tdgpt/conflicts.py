"""Finds keys that lead to the port of another model: SQL would get that model's forecasts without any error."""

from __future__ import annotations

import ast
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tsfm import card
from tsfm.tdgpt import files, ini, pyfacts
from tsfm.tdgpt.endpoints import Endpoint
from tsfm.tdgpt.marks import Refused
from tsfm.tdgpt.pyfacts import Facts

_HERE = {"localhost", "::1", "0.0.0.0", "::"}  # noqa: S104 - compared with, never bound


def find(addresses: Mapping[str, str], registered: Sequence[Endpoint], source: str) -> list[str]:
    """A sentence for each key whose port is another model's.

    Args:
        addresses: the URL that TDgpt uses for each key after our registration.
        registered: the endpoints of our families.
        source: the file's name in messages.
    """
    locations = {key: location for key, url in addresses.items() if (location := _location(url))}
    ours = {_location(endpoint.url): endpoint for endpoint in reversed(registered)}
    own = {_normalised(key): endpoint for endpoint in registered for key in card.read(endpoint.family).keys}
    found = []
    keys: dict[tuple[str, int], str] = {}
    for key, location in locations.items():
        endpoint, expected = ours.get(location), own.get(_normalised(key))
        if endpoint is None:
            if other := keys.get(location):
                found.append(_same_location(source, other, key, location))
            keys.setdefault(location, key)
        elif expected != endpoint:
            found.append(_port_taken(source, key, addresses[key], endpoint))
    return found


def _port_taken(source: str, key: str, url: str, endpoint: Endpoint) -> str:
    return (
        f"{source}: {key} = {url} has the port of {endpoint.family} of taos-tsfm, "
        f"so SQL's algo={key} gets its forecasts or none; "
        f"set another port in [{endpoint.family}] of tsfm.ini, or correct {key}, and run: tsfm register"
    )


def _same_location(source: str, one: str, other: str, location: tuple[str, int]) -> str:
    where = f"{'127.0.0.1' if location[0] == 'here' else location[0]}:{location[1]}"
    return (
        f"{source}: {one} and {other} both use {where}, so SQL gets the same model for both; "
        f"correct one of them and run: systemctl restart taosanoded"
    )


def _normalised(key: str) -> str:
    return key.lower().replace("_", "-")


def _location(url: str) -> tuple[str, int] | None:
    """(host, port), this machine under one name; None: no address."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        return None
    is_here = host in _HERE or host.startswith("127.") or host == socket.gethostname().lower()
    return ("here" if is_here else host, port) if host else None


def of_ini(text: str, source: str) -> dict[str, str]:
    """The URLs in [tsfm-service], by key."""
    return {key: value for key, value in ini.read(text, source).values.items() if "\n" not in value}


def of_python(facts: Facts) -> dict[str, str]:
    """The addresses that TDgpt makes of its globals; those of ``models`` win."""
    found: dict[str, str] = {}
    for key, value in facts.names.items():
        if isinstance(value, str) and "://" in value:
            # If both timemoe_fc and timemoe-fc are set, TDgpt's client uses the latter.
            found = over(found, {key: value}) if "-" in key else over({key: value}, found)
    for family, entry in facts.models.items():
        if isinstance(entry.get("port"), int):
            url = f"http://127.0.0.1:{entry['port']}{entry.get('endpoint', '/ds_predict')}"
            found = over(found, {str(entry.get("algo_name") or family): url})
    return found


def over(base: Mapping[str, str], top: Mapping[str, str]) -> dict[str, str]:
    """Both together; for a key in both, however it is spelled, ``top`` wins."""
    known = {_normalised(key) for key in top}
    return {key: value for key, value in base.items() if _normalised(key) not in known} | dict(top)


def of_text(text: str, source: str, is_python: bool) -> dict[str, str]:
    """The URLs in a configuration of either kind, by key."""
    return of_python(pyfacts.read(text, source)) if is_python else of_ini(text, source)


def of_adapters(library: Path) -> dict[str, str]:
    """The default addresses of the adapters in TDgpt's tree, by key."""
    return {key: url for path in sorted((library / "algo").rglob("*.py")) for key, url in _of_adapter(path)}


def _of_adapter(path: Path) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(files.load(path) or b"")
    except (Refused, SyntaxError, ValueError):
        return  # a file that TDgpt cannot import either
    for kind in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        values: dict[str, str] = {}
        for node in ast.walk(kind):
            match node:
                case ast.Assign([ast.Name(name) | ast.Attribute(_, name)], ast.Constant(str(value))):
                    values[name] = value
        if "name" in values and "://" in values.get("service_host", ""):
            yield values["name"], values["service_host"]
