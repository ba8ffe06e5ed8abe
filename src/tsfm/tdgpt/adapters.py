"""Adapters in TDgpt's own tree, so that SQL knows models that TDgpt does not, and our server scripts.

An upgrade of TDgpt removes both; ``tsfm register`` writes them again.
"""

from __future__ import annotations

import ast
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tsfm import paths
from tsfm.engine import tasks
from tsfm.tdgpt import files, marks, trust
from tsfm.tdgpt.endpoints import KNOWN_KEYS, Endpoint

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


def folder(library: Path, task: str) -> Path | None:
    """Where TDgpt looks for algorithms of a task; None: nowhere, its own code asks the service."""
    name = tasks.find(task).tdgpt_folder
    return library / "algo" / name if name else None


def text(endpoint: Endpoint) -> str:
    """The adapter's source. Its base class sends the request and reads the answer."""
    title = endpoint.family.capitalize()
    facts = {"mark": MARK, "title": title, "key": endpoint.key, "url": endpoint.url}
    return _ADAPTER.format(**facts, summary=endpoint.summary)


def planned(library: Path, endpoints: Sequence[Endpoint]) -> tuple[dict[Path, bytes], list[str]]:
    """({adapter file: what it holds}, reasons why some cannot be): for names that TDgpt does not know."""
    targets = [(e, folder(library, e.task)) for e in endpoints if e.key not in KNOWN_KEYS]
    unknown = [(endpoint, target) for endpoint, target in targets if target and target.is_dir()]
    if not unknown:
        return {}, []
    if not _has_base_class(library):
        names = ", ".join(endpoint.key for endpoint, _ in unknown)
        return {}, [f"{library}: this TDgpt supports no external models, so SQL cannot use {names}; upgrade TDgpt"]
    found: dict[Path, bytes] = {}
    reasons = []
    for endpoint, target in unknown:
        path = target / f"{endpoint.key.replace('-', '_')}.py"
        present = files.load(path)
        if present is not None and MARK.encode() not in present:
            reasons.append(f"{path}: TDgpt's own adapter for {endpoint.key}, so it is not changed")
        else:
            found[path] = text(endpoint).encode("ascii")
    return found, reasons


def ours(library: Path) -> list[Path]:
    """The adapters that we wrote, known by their first line."""
    written = []
    folders = filter(None, (folder(library, task) for task in tasks.names()))
    for path in sorted(path for parent in folders for path in parent.glob("*.py")):
        with path.open("rb") as file:
            if file.readline().strip() == MARK.encode():
                written.append(path)
    return written


def check(library: Path, source: bytes, path: Path) -> str:
    """Compile the adapter with the interpreter that will import it, if only root can change that interpreter.

    Returns: a note about an interpreter that was not run; "" when one was run, or none exists.

    Raises:
        Refused: it does not compile there. An older TDgpt would not start with such a file.
    """
    note = ""
    for python in _interpreters(library):
        try:
            found = trust.walk(python)
        except OSError:
            continue  # no such environment
        try:
            foreign = found.foreign or _foreign_library(found.real)
            if not foreign:
                _compile(found, source, path)
                return ""
            note = note or f"{path}: compiled with tsfm's own Python only; TDgpt's {python} was not run: {foreign}"
        finally:
            os.close(found.descriptor)
    # The grammar of the oldest Python that TDgpt has run on.
    ast.parse(source, feature_version=(3, 7))
    return note


def _compile(python: trust.Walk, source: bytes, path: Path) -> None:
    code = "import sys; compile(sys.stdin.buffer.read(), 'adapter', 'exec')"
    words = [str(python.real), "-I", "-S", "-c", code]
    held = python.descriptor
    try:
        # The file that was checked is the file that runs, even if its name leads elsewhere by now.
        done = subprocess.run(
            words, executable=f"/proc/self/fd/{held}", pass_fds=[held], input=source, capture_output=True, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise marks.Refused(f"{path}: not written: {python.real} cannot be started: {error}") from None
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise marks.Refused(f"{path}: not written: {python.real} cannot compile it: {message[-1]}")


def _foreign_library(python: Path) -> str:
    """Why other users can change what the interpreter loads first; "" when they cannot."""
    for folder in (python.parent.parent / "lib", python.parent.parent / "lib64"):
        for path in (folder, *folder.glob("python3*"), *folder.glob("libpython3*")):
            try:
                found = trust.walk(path)
            except OSError:
                continue  # no such folder, or a link that leads nowhere
            os.close(found.descriptor)
            if found.foreign:
                return found.foreign
    return ""


def _interpreters(library: Path) -> list[Path]:
    home = library.parent.parent
    venvs = (home / "venv", home / "venvs/venv", paths.ROOT / "var/lib/taos/taosanode/venv")
    return [venv / "bin" / name for venv in venvs for name in ("python3", "python")]


def _has_base_class(library: Path) -> bool:
    source = files.load(library / "algo/tsfm.py")
    return source is not None and b"class TsfmBaseService" in source


def scripts(families: Sequence[str]) -> dict[Path, bytes]:
    """{server script: what it holds}, one for each family."""
    master = files.load(paths.SHARE / "server.py")
    if master is None:
        return {}
    return {paths.SCRIPTS / f"{family}-server.py": master for family in families}
