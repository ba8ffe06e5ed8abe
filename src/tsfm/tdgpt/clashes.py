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


def find(addresses: Mapping[str, str], wanted: Sequence[Endpoint], source: str) -> list[str]:
    """A sentence for each key whose port is another model's.

    Args:
        addresses: the URL that TDgpt uses for each key after our registration.
        wanted: the endpoints of our families.
        source: the file's name in messages.
    """
    places = {key: place for key, url in addresses.items() if (place := _place(url))}
    ours = {_place(endpoint.url): endpoint for endpoint in reversed(wanted)}
    own = {_plain(key): endpoint for endpoint in wanted for key in card.read(endpoint.family).keys}
    found = []
    theirs: dict[tuple[str, int], str] = {}
    for key, place in places.items():
        endpoint, mine = ours.get(place), own.get(_plain(key))
        if endpoint is None:
            if other := theirs.get(place):
                found.append(_both(source, other, key, place))
            theirs.setdefault(place, key)
        elif mine != endpoint:
            found.append(_taken(source, key, addresses[key], endpoint))
    return found


def _taken(source: str, key: str, url: str, endpoint: Endpoint) -> str:
    return (
        f"{source}: {key} = {url} is the port of our {endpoint.family}, so SQL's algo={key} reaches that or nothing; "
        f"set another port in [{endpoint.family}] of tsfm.ini, or correct {key}, and run: tsfm register"
    )


def _both(source: str, one: str, other: str, place: tuple[str, int]) -> str:
    where = f"{'127.0.0.1' if place[0] == 'here' else place[0]}:{place[1]}"
    return (
        f"{source}: {one} and {other} are both at {where}, so one of them reaches the other's model; "
        f"correct one of them and run: systemctl restart taosanoded"
    )


def _plain(key: str) -> str:
    return key.lower().replace("_", "-")


def _place(url: str) -> tuple[str, int] | None:
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
    known = {_plain(key) for key in top}
    return {key: value for key, value in base.items() if _plain(key) not in known} | dict(top)


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
        set_to: dict[str, str] = {}
        for node in ast.walk(kind):
            match node:
                case ast.Assign([ast.Name(name) | ast.Attribute(_, name)], ast.Constant(str(value))):
                    set_to[name] = value
        if "name" in set_to and "://" in set_to.get("service_host", ""):
            yield set_to["name"], set_to["service_host"]
