"""Reads from the unit files which environment systemd gives a service; systemd need not run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tsfm import paths
from tsfm.tdgpt import files
from tsfm.tdgpt.marks import Refused

_FOLDERS = ("etc", "run", "usr/local/lib", "usr/lib", "lib")
"""Parents of the folders of unit files, in their order of precedence (systemd.unit(5))."""


def variable(unit: str, name: str) -> str | None:
    """The variable's value from ``Environment=`` and ``EnvironmentFile=``; None: they do not set it."""
    found: str | None = None
    listed: list[str] = []
    for key, value in _lines(unit):
        if key == "Environment":
            found = None if not value else _value(_words(value), name, found)
        elif key == "EnvironmentFile":
            listed = [*listed, value.lstrip("-")] if value else []
    for path in listed:  # a file's variables win over the unit's own
        rows = (row.strip() for row in _text(below_root(Path(path))).splitlines())
        found = _value([word for row in rows if row[:1] not in ("#", ";") for word in _words(row)[:1]], name, found)
    return found


def below_root(path: Path) -> Path:
    """A path of the host, below ``$TSFM_ROOT``."""
    return path if path.is_relative_to(paths.ROOT) else paths.ROOT / path.relative_to(path.anchor)


def _value(words: list[str], name: str, found: str | None) -> str | None:
    return next((word.partition("=")[2] for word in reversed(words) if word.startswith(f"{name}=")), found)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return []  # an open quotation mark: systemd ignores such a line as well


def _lines(unit: str) -> Iterator[tuple[str, str]]:
    """The settings in [Service]: first the unit's own, then those of its drop-ins."""
    folders = [paths.ROOT / folder / "systemd/system" for folder in _FOLDERS]
    main = next((folder / unit for folder in folders if (folder / unit).is_file()), None)
    # If several folders have a drop-in of the same name, the one in the first folder counts.
    dropped = {path.name: path for folder in reversed(folders) for path in folder.glob(f"{unit}.d/*.conf")}
    for path in [*filter(None, [main]), *(dropped[name] for name in sorted(dropped))]:
        section = ""
        for row in re.sub(r"\\\n", " ", _text(path)).splitlines():
            line = row.strip()
            if line.startswith("["):
                section = line
            elif section == "[Service]" and line[:1] not in ("#", ";"):
                key, _, value = line.partition("=")
                yield key.strip(), value.strip()


def _text(path: Path) -> str:
    try:
        return (files.load(path) or b"").decode(errors="replace")
    except Refused:
        return ""
