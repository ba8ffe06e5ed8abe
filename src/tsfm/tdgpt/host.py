"""Finds TDgpt on this host: its generation, its files, its address."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tsfm import paths as install_paths
from tsfm.tdgpt import files, marks, pyfacts, unitfile

INI = "taosanode.ini"
CONFIG = "taosanode.config.py"
UNIT = "taosanoded.service"
VARIABLE = "TDGPT_CONF"
"""The variable that names another configuration, in our environment or in that of TDgpt's unit."""
_PORTS = {"G1": 6090, "G2": 6035, "G3": 6035, "G4": 6035}


@dataclass(frozen=True)
class Anode:
    """The address of the anode.

    Attributes:
        tls: whether it uses TLS; None: unknown without running its configuration.
        certificate: path of its certificate; "" when the configuration does not contain it as text.
    """

    host: str
    port: int
    tls: bool | None = False
    certificate: str = ""

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port


@dataclass(frozen=True)
class Tdgpt:
    """One installation of TDgpt, or what is left of it.

    Attributes:
        generation: "G1" to "G4"; "" when only the tree exists and does not show it.
        configs: its configuration files that exist, each once even if links lead to it.
        expected: the configuration that its code reads; None when that is unknown.
        code: its folder of Python code; None when the tree does not exist.
        anode: its address.
    """

    generation: str
    configs: tuple[Path, ...]
    expected: Path | None
    code: Path | None
    anode: Anode

    @property
    def address(self) -> tuple[str, int]:
        """(host, port) of the anode."""
        return self.anode.address


def find() -> Tdgpt | None:
    """The TDgpt of this host; None when neither its tree nor a configuration exists."""
    configs = _unique([path for path in candidates() if path.exists()])
    library = install_paths.TDGPT / "lib/taosanalytics"
    tree = library if library.is_dir() else None
    if not configs and tree is None:
        return None
    expected = _expected(tree)
    # The same file, by the name under which we write it.
    expected = next((path for path in configs if expected and _same(path, expected)), expected)
    active = expected if expected in configs else configs[-1] if configs else None
    generation, where = _read(active) if active else ("", Anode("127.0.0.1", _PORTS["G2"]))
    return Tdgpt(generation, configs, expected, tree, where)


def candidates() -> list[Path]:
    """Possible paths of its configurations; the one that its launcher prefers comes last."""
    named = _named()
    usual = [install_paths.ETC / INI, install_paths.ETC / CONFIG, install_paths.TDGPT / "cfg" / CONFIG]
    return [*usual, *([named] if named and named not in usual else [])]


def is_python(path: Path) -> bool:
    """Whether a configuration is a Python file: all but the first two generations' ini."""
    return path.suffix != ".ini"


def _named() -> Path | None:
    value = os.environ.get(VARIABLE) or unitfile.variable(UNIT, VARIABLE)
    # A relative path would mean another file in each process.
    return unitfile.below_root(Path(value)) if value and Path(value).is_absolute() else None


def _unique(paths: Sequence[Path]) -> tuple[Path, ...]:
    unique: list[Path] = []
    for path in paths:
        if not any(_same(path, other) for other in unique):
            unique.append(path)
    return tuple(unique)


def _same(one: Path, other: Path) -> bool:
    return one == other or (one.exists() and other.exists() and one.samefile(other))


def _expected(library: Path | None) -> Path | None:
    if named := _named():
        return named
    if library is None:
        return None
    try:
        code = (library / "conf.py").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    if CONFIG in code:
        own = install_paths.TDGPT / "cfg" / CONFIG
        return own if own.exists() else install_paths.ETC / CONFIG
    return install_paths.ETC / INI if INI in code else None


def _read(path: Path) -> tuple[str, Anode]:
    """(generation, address of the anode) from the configuration, as far as it can be read."""
    try:
        _, text = files.decode(files.load(path) or b"")
        facts = pyfacts.read(text, str(path)) if is_python(path) else None
    except marks.Refused:
        return ("G3", Anode("127.0.0.1", _PORTS["G3"])) if is_python(path) else ("G2", _of_ini(""))
    if facts:
        return facts.generation, _of_python(facts)
    where = _of_ini(text)
    # An ini file with the first generation's port belongs to the first generation.
    return ("G1" if where.port == _PORTS["G1"] else "G2"), where


def _of_ini(text: str) -> Anode:
    match = re.search(r"(?m)^\s*(http|https)(?:-socket)?\s*[=:]\s*([^\s,]+)(?:,([^\s,]+))?", text)
    if match is None:
        return Anode("127.0.0.1", _PORTS["G2"])
    return Anode(*_address(match.group(2), _PORTS["G2"]), match.group(1) == "https", match.group(3) or "")


def _of_python(facts: pyfacts.Facts) -> Anode:
    bound = facts.names.get("bind")
    address = bound[0] if isinstance(bound, (list, tuple)) and bound else bound
    # gunicorn uses TLS when either is set.
    values = [facts.names[name] for name in ("certfile", "keyfile") if name in facts.names]
    tls = True if any(isinstance(value, str) and value for value in values) else None if None in values else False
    certificate = facts.names.get("certfile")
    file = certificate if isinstance(certificate, str) else ""
    return Anode(*_address(str(address), _PORTS["G4"]), tls, file)


def _address(text: str, default: int) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() and int(port) < 65536 else default
    host = host.strip("[]")
    return ("127.0.0.1" if host in ("", "0.0.0.0", "::") else host), number  # noqa: S104 - compared with
