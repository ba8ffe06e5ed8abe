"""Adapters in TDgpt's own tree, so that SQL knows models that TDgpt does not, and our server scripts.

An upgrade of TDgpt removes both; ``tsfm register`` writes them again.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tsfm import paths
from tsfm.engine import tasks
from tsfm.tdgpt import files, marks, trust
from tsfm.tdgpt.endpoints import KNOWN_KEYS, Endpoint
from tsfm.tdgpt.templates import BY_FOLDER

MARK = "# Written by `tsfm register`, which puts it back; `tsfm unregister` takes it out."


@dataclass(frozen=True)
class Algorithm:
    """One family under one name of SQL's.

    Attributes:
        folder: TDgpt's, of algorithms of this kind.
        key: the name in SQL.
        url: where the service answers.
    """

    endpoint: Endpoint
    folder: str
    key: str
    url: str

    def path(self, library: Path) -> Path:
        """Its adapter in TDgpt's tree; below ``custom`` where TDgpt has such a folder."""
        own = library / "algo/custom" / self.folder
        folder = own if own.is_dir() else library / "algo" / self.folder
        return folder / f"{self.key.replace('-', '_')}.py"

    def source(self, module: str) -> bytes:
        """The adapter, derived from a class of TDgpt's module."""
        facts = {"mark": MARK, "title": self.endpoint.family.capitalize(), "key": self.key, "url": self.url}
        template = BY_FOLDER[self.folder]
        facts |= {"module": module, "base": template.base, "summary": self.endpoint.summary}
        return template.source.format(**facts).encode("ascii")


def algorithms(endpoint: Endpoint) -> list[Algorithm]:
    """What SQL gets of the family by adapters: its task, if TDgpt does not know the key, and its operations.

    The names of the latter begin with ``tsfm_``, since TDgpt has one space of names for algorithms of all kinds.
    """
    task = tasks.find(endpoint.task)
    found = []
    if task.tdgpt_folder and endpoint.key not in KNOWN_KEYS:
        found.append(Algorithm(endpoint, task.tdgpt_folder, endpoint.key, endpoint.url))
    for name, operation in task.operations.items():
        if operation.tdgpt_folder:
            key = f"tsfm_{endpoint.family}"
            found.append(Algorithm(endpoint, operation.tdgpt_folder, key, endpoint.at(f"/v1/{name}")))
    return found


def planned(library: Path, endpoints: Sequence[Endpoint]) -> tuple[dict[Path, bytes], list[str]]:
    """({adapter file: what it holds}, reasons why some cannot be): for names that TDgpt does not know."""
    modules = {folder: _module(library, template.base) for folder, template in BY_FOLDER.items()}
    found: dict[Path, bytes] = {}
    reasons, unknown = [], []
    for algorithm in (one for endpoint in endpoints for one in algorithms(endpoint)):
        path, module = algorithm.path(library), modules[algorithm.folder]
        if not path.parent.is_dir():
            continue
        if module is None:
            unknown.append(algorithm.key)
            continue
        present = files.load(path)
        if present is not None and MARK.encode() not in present:
            reasons.append(f"{path}: TDgpt's own adapter for {algorithm.key}, so it is not changed")
        else:
            found[path] = algorithm.source(module)
    if unknown:
        names = ", ".join(unknown)
        reasons.insert(
            0, f"{library}: this TDgpt supports no external models, so SQL cannot use {names}; upgrade TDgpt"
        )
    return found, reasons


def ours(library: Path) -> list[Path]:
    """The adapters that we wrote, known by their first line."""
    written = []
    folders = [parent / name for parent in (library / "algo", library / "algo/custom") for name in BY_FOLDER]
    for path in sorted(path for folder in folders for path in folder.glob("*.py")):
        with path.open("rb") as file:
            if file.readline().strip() == MARK.encode():
                written.append(path)
    return written


def installed(library: Path | None, endpoints: Sequence[Endpoint]) -> list[str]:
    """The names in SQL of the families' adapters that are in TDgpt's tree."""
    found = [algorithm for endpoint in endpoints for algorithm in algorithms(endpoint)]
    return [algorithm.key for algorithm in found if library and algorithm.path(library).exists()]


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
            note = note or f"compiled with tsfm's own Python only; TDgpt's {python} was not run: {foreign}"
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


def _module(library: Path, base: str) -> str | None:
    """The module that defines a class of TDgpt's; generations have it in different files."""
    for path in (*sorted(library.glob("*.py")), *sorted((library / "algo").glob("*.py"))):
        with contextlib.suppress(marks.Refused):
            if re.search(rf"(?m)^class {base}\b".encode(), files.load(path) or b""):
                return ".".join(path.relative_to(library.parent).with_suffix("").parts)
    return None


def scripts(families: Sequence[str]) -> dict[Path, bytes]:
    """{server script: what it holds}, one for each family."""
    master = files.load(paths.SHARE / "server.py")
    if master is None:
        return {}
    return {paths.SCRIPTS / f"{family}-server.py": master for family in families}
