"""What of TDgpt is on this host: its generation, its files, its address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tsfm import install
from tsfm.registration import files, marks, pyfacts

INI = "taosanode.ini"
CONFIG = "taosanode.config.py"
UNIT = "taosanoded.service"
_PORTS = {"G1": 6090, "G2": 6035, "G3": 6035, "G4": 6035}


@dataclass(frozen=True)
class Tdgpt:
    """One installation of TDgpt, or what is left of it.

    Attributes:
        generation: "G1" to "G4"; "" when only the tree is there and does not tell.
        configs: its configuration files that exist.
        expected: the configuration that its code reads; None when it does not tell.
        code: its folder of Python code; None when the tree is gone.
        address: (host, port) of the anode.
    """

    generation: str
    configs: tuple[Path, ...]
    expected: Path | None
    code: Path | None
    address: tuple[str, int]


def find() -> Tdgpt | None:
    """The TDgpt of this host; None when there is no trace of one."""
    configs = tuple(path for name in (INI, CONFIG) if (path := install.ETC / name).exists())
    library = install.TDGPT / "lib/taosanalytics"
    tree = library if library.is_dir() else None
    if not configs and tree is None:
        return None
    expected = _expected(tree) if tree else None
    live = expected if expected in configs else configs[-1] if configs else None
    generation, address = _read(live) if live else ("", ("127.0.0.1", _PORTS["G2"]))
    return Tdgpt(generation, configs, expected, tree, address)


def _expected(library: Path) -> Path | None:
    try:
        code = (library / "conf.py").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return next((install.ETC / name for name in (CONFIG, INI) if name in code), None)


def _read(path: Path) -> tuple[str, tuple[str, int]]:
    """(generation, address) that the configuration says, as far as it can be read."""
    try:
        _, text = files.decode(files.load(path) or b"")
    except marks.Refused:
        text = ""
    if path.name == CONFIG:
        try:
            facts = pyfacts.read(text, str(path))
        except marks.Refused:
            return "G3", ("127.0.0.1", _PORTS["G3"])
        return facts.generation, _address(str(facts.names.get("bind")), _PORTS["G4"])
    said = re.search(r"(?m)^\s*http(?:-socket)?\s*[=:]\s*(\S+)", text)
    address = _address(said.group(1) if said else "", _PORTS["G2"])
    # An ini without the second generation's ports is the first's.
    return ("G1" if address[1] == _PORTS["G1"] else "G2"), address


def _address(said: str, default: int) -> tuple[str, int]:
    host, _, port = said.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() and int(port) < 65536 else default
    host = host.strip("[]")
    return ("127.0.0.1" if host in ("", "0.0.0.0", "::") else host), number  # noqa: S104 - compared with
