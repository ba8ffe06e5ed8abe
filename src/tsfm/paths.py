"""The paths of the installed files, and the families that are installed.

``$TSFM_ROOT`` is the prefix of every path: development and tests use a separate tree.
"""

from __future__ import annotations

import os
import re
import site
from pathlib import Path

ROOT = Path(os.environ.get("TSFM_ROOT") or "/")
PAYLOAD = ROOT / "usr/lib/taos-tsfm"
LIB = PAYLOAD / "lib"
RUNTIME = PAYLOAD / "runtime"
VENVS = PAYLOAD / "venvs"
OFFICIAL = PAYLOAD / "official"
COMMAND_LINE = PAYLOAD / "cli"
FLEET = PAYLOAD / "fleet"
SHARE = PAYLOAD / "share"
TDGPT = ROOT / "usr/local/taos/taosanode"
SCRIPTS = TDGPT / "tsfm"
ETC = ROOT / "etc/taos"
# The name may come from a systemd unit's instance: it must never lead out of the folder.
_FAMILY = re.compile("[a-z][a-z0-9]*")


def share() -> Path:
    """The folder of sample series: of this checkout, or the installed one."""
    own = Path(__file__).parent / "share"
    return own if own.is_dir() else SHARE


def installed_families() -> list[str]:
    """The names of the families that have a complete environment, sorted.

    If a folder has no interpreter, its package is only partly unpacked or partly removed.
    """
    if not VENVS.is_dir():
        return []
    return sorted(folder.name for folder in VENVS.iterdir() if venv_python(folder.name))


def package(family: str, engine: str = "native") -> str:
    """The name of the package that brings the family's environment for an engine."""
    return f"taos-tsfm-{family}-official" if engine == "official" else f"taos-tsfm-{family}"


def is_there(family: str, engine: str = "native") -> bool:
    """Whether that package is installed, completely or in part."""
    return bool(_FAMILY.fullmatch(family)) and _environment(family, engine).is_dir()


def venv_python(family: str, engine: str = "native") -> Path | None:
    """The interpreter of the family's environment for an engine, or None if its package is not installed."""
    if not _FAMILY.fullmatch(family):
        return None
    python = _environment(family, engine) / "bin" / "python"
    return python if python.exists() else None


def use_packages(family: str) -> None:
    """Let this process, in another environment, import what the family's own adds to the common one."""
    own = VENVS / family / "lib/python3.11/site-packages"
    if own.is_dir():
        site.addsitedir(str(own))


def _environment(family: str, engine: str) -> Path:
    return (OFFICIAL if engine == "official" else VENVS) / family
