"""Files in TDgpt's own tree, so that SQL knows models that TDgpt does not, and our server scripts.

TDgpt's upgrade removes both; ``place`` puts back what is missing and says what it did.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tsfm import install
from tsfm.registration import files, marks
from tsfm.registration.endpoints import KNOWN_KEYS, Endpoint

MARK = "# Written by `tsfm register`, which puts it back; `tsfm unregister` takes it out."

_ADAPTER = '''\
{mark}
"""{title} as an algorithm of TDgpt, served by taos-tsfm."""

from taosanalytics.algo.tsfm import TsfmBaseService


class _{title}Service(TsfmBaseService):
    name = {key!r}
    desc = {summary!a}
    _builtins = False
    is_builtins = False

    def __init__(self):
        super().__init__()
        if not self.service_host:
            self.service_host = {url!r}
'''


def folder(library: Path) -> Path:
    """Where TDgpt looks for forecast algorithms."""
    return library / "algo/fc"


def text(endpoint: Endpoint) -> str:
    """The adapter's source. Its base class sends the request and reads the answer."""
    title = endpoint.family.capitalize()
    facts = {"mark": MARK, "title": title, "key": endpoint.key, "url": endpoint.url}
    return _ADAPTER.format(**facts, summary=endpoint.summary)


def wanted(library: Path, endpoints: Sequence[Endpoint]) -> tuple[dict[Path, bytes], list[str]]:
    """({adapter file: what it holds}, reasons why some cannot be): for names that TDgpt does not know."""
    unknown = [e for e in endpoints if e.key not in KNOWN_KEYS and e.task == "forecast"]
    if not unknown or not folder(library).is_dir():
        return {}, []
    if not _has_base_class(library):
        names = ", ".join(e.key for e in unknown)
        return {}, [f"{library}: this TDgpt takes no models of others; SQL will not know {names}: upgrade TDgpt"]
    found: dict[Path, bytes] = {}
    reasons = []
    for endpoint in unknown:
        path = folder(library) / f"{endpoint.key.replace('-', '_')}.py"
        present = files.load(path)
        if present is not None and MARK.encode() not in present:
            reasons.append(f"{path}: not ours, so it stays: this TDgpt knows {endpoint.key} itself")
        else:
            found[path] = text(endpoint).encode("ascii")
    return found, reasons


def ours(library: Path) -> list[Path]:
    """The adapters that we placed, by their first line."""
    placed = []
    for path in sorted(folder(library).glob("*.py")):
        with path.open("rb") as file:
            if file.readline().strip() == MARK.encode():
                placed.append(path)
    return placed


def check(library: Path, source: bytes, path: Path) -> None:
    """Compile the adapter with the interpreter that will import it.

    Raises:
        Refused: it does not compile there. An older TDgpt would not start with such a file.
    """
    python = _interpreter(library)
    code = "import sys; compile(sys.stdin.buffer.read(), 'adapter', 'exec')"
    try:
        done = subprocess.run([python, "-I", "-S", "-c", code], input=source, capture_output=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise marks.Refused(f"{path}: not placed: {python} does not run: {error}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise marks.Refused(f"{path}: not placed: {python} does not compile it: {said[-1]}")


def _interpreter(library: Path) -> str:
    home = library.parent.parent
    state = install.ROOT / "var/lib/taos/taosanode"
    for venv in (home / "venv", home / "venvs/venv", state / "venv"):
        for name in ("python3", "python"):
            # What the link leads to: TDgpt's installer lets everybody write into its environment.
            python = (venv / "bin" / name).resolve()
            if python.exists() and _is_trusted(python.stat()):
                return str(python)
    return sys.executable


def _is_trusted(facts: os.stat_result) -> bool:
    return facts.st_uid in (0, os.geteuid()) and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _has_base_class(library: Path) -> bool:
    source = files.load(library / "algo/tsfm.py")
    return source is not None and b"class TsfmBaseService" in source


def scripts(families: Sequence[str]) -> dict[Path, bytes]:
    """{server script: what it holds}, one for each family."""
    master = files.load(install.SHARE / "server.py")
    if master is None:
        return {}
    return {install.SCRIPTS / f"{family}-server.py": master for family in families}
