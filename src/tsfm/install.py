"""Where the packages put things, and which families they brought.

``$TSFM_ROOT`` stands in front of every path: development and tests use a tree of their own.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path

from tsfm.errors import TsfmError

ROOT = Path(os.environ.get("TSFM_ROOT") or "/")
PAYLOAD = ROOT / "usr/lib/taos-tsfm"
LIB = PAYLOAD / "lib"
RUNTIME = PAYLOAD / "runtime"
VENVS = PAYLOAD / "venvs"
COMMAND_LINE = PAYLOAD / "cli"
SHARE = PAYLOAD / "share"
TDGPT = ROOT / "usr/local/taos/taosanode"
SCRIPTS = TDGPT / "tsfm"
ETC = ROOT / "etc/taos"
# The name may come from a unit's instance: never let it walk out of the folder.
_FAMILY = re.compile("[a-z][a-z0-9]*")
ENTERED = "TSFM_COMMAND_LINE"


def installed_families() -> list[str]:
    """The families whose environment is complete, by name.

    A folder without an interpreter is one whose package is half unpacked or half removed.
    """
    if not VENVS.is_dir():
        return []
    return sorted(folder.name for folder in VENVS.iterdir() if venv_python(folder.name))


def is_there(family: str) -> bool:
    """Whether the family's package is installed, be it in part only."""
    return bool(_FAMILY.fullmatch(family)) and (VENVS / family).is_dir()


def venv_python(family: str) -> Path | None:
    """The interpreter of the family's environment; None when its package is not installed."""
    if not _FAMILY.fullmatch(family):
        return None
    python = VENVS / family / "bin" / "python"
    return python if python.exists() else None


def enter_command_line() -> None:
    """Go on in the environment that holds what a command needs beyond Python itself, pandas; once at most.

    Raises:
        TsfmError: it is not installed.
    """
    python = COMMAND_LINE / "bin" / "python"
    inside = os.environ.pop(ENTERED, None)
    if importlib.util.find_spec("pandas"):
        return
    if inside or not python.exists():
        raise TsfmError(f"no pandas in {inside or COMMAND_LINE}, which reads tables: install taos-tsfm-runtime")
    environment = os.environ | {"PYTHONPATH": str(LIB), ENTERED: str(COMMAND_LINE)}
    os.execve(python, [str(python), "-P", "-B", "-m", "tsfm", *sys.argv[1:]], environment)  # noqa: S606
