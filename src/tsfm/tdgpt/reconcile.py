"""One idempotent step for hook, trigger, path unit and command line: it changes files only and waits for nothing."""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tsfm import paths as install_paths
from tsfm.system.subprocesses import Deadline
from tsfm.tdgpt import adapters, config_py, conflicts, endpoints, files, host, ini, marks
from tsfm.tdgpt.endpoints import Endpoint
from tsfm.tdgpt.host import Tdgpt
from tsfm.tdgpt.listed import listed

_LOCK_S = 3.0
_TRIES = 5
"""Attempts to edit a file that somebody else writes at the same time."""


@dataclass
class Outcome:
    """What the step did, or would do.

    Attributes:
        done: what changed, one sentence for each file.
        notes: what the operator should know.
        conflicts: keys that lead to another model's port, and what to do.
        refused: files that need a change but were left as they are, and why.
        diffs: what changes in TDgpt's configurations.
        stale: TDgpt runs with files that have changed since it started.
    """

    found: Tdgpt | None
    dry: bool = False
    done: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    diffs: list[str] = field(default_factory=list)
    stale: bool = False


def register(dry: bool = False, also: Collection[str] = ()) -> Outcome:
    """Write the scripts of the installed families, and the adapters and URLs of those that SQL lists.

    Files and lines of families that are neither installed nor balanced any more are removed.

    Args:
        also: installed families to register even if their units are not enabled.

    Raises:
        ConfigError: tsfm.ini is wrong; nothing was changed.
    """
    served = endpoints.served()
    in_sql = listed(served)
    selected = [endpoint for endpoint in served if endpoint in in_sql or endpoint.family in also]
    outcome = Outcome(host.find(), dry)
    with _exclusive():
        _install_scripts(outcome, [endpoint.family for endpoint in endpoints.installed()])
        if outcome.found is None:
            outcome.notes.append(
                f"no TDgpt on this host ({install_paths.TDGPT} and {install_paths.ETC}/taosanode.* are missing): "
                "run `tsfm register` once it is installed"
            )
            return outcome
        if library := outcome.found.code:
            _install_adapters(outcome, library, selected)
        for path in outcome.found.configs:
            with _refusal(outcome):
                _edit(outcome, path, selected)
        if outcome.found.expected and outcome.found.expected not in outcome.found.configs:
            with _refusal(outcome):
                _from_template(outcome, outcome.found.expected, selected)
    return outcome


def unregister(dry: bool = False) -> Outcome:
    """Remove every line and file of ours; TDgpt's configurations become what they were before."""
    outcome = Outcome(host.find(), dry)
    with _exclusive():
        _install_scripts(outcome, [])
        if outcome.found and outcome.found.code:
            _remove(outcome, adapters.ours(outcome.found.code), stale=True)
        for path in outcome.found.configs if outcome.found else ():
            with _refusal(outcome):
                _restore(outcome, path)
        for path in host.candidates():
            # Also the backup of a file that the removal of TDgpt deleted.
            backup = files.backup_of(path)
            if backup.exists() and not dry:
                with _refusal(outcome):
                    files.remove(backup)
    return outcome


@contextlib.contextmanager
def _exclusive() -> Iterator[None]:
    """Run one step at a time: hook and path unit may start together.

    Any user may lock a folder, so the wait is limited; the step is idempotent and its writes are atomic.
    """
    try:
        folder = os.open(install_paths.ETC, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield  # without the folder there is no configuration to protect
        return
    try:
        deadline = Deadline.after(_LOCK_S)
        while not _locked(folder) and not deadline.passed:
            time.sleep(0.05)  # a lock with a time limit has no other form
        yield
    finally:
        os.close(folder)


def _locked(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _refusal(outcome: Outcome) -> Iterator[None]:
    """A file that cannot be changed must not stop the work on the others."""
    try:
        yield
    except marks.Refused as refusal:
        outcome.refused.append(str(refusal))


def _edit(outcome: Outcome, path: Path, selected: Sequence[Endpoint]) -> None:
    kind = config_py if host.is_python(path) else ini

    urls: dict[str, str] = {}

    def edited(data: bytes) -> tuple[bytes, list[str], bool]:
        bom, text = files.decode(data)
        edit = kind.register(text, selected, str(path))
        urls.update(conflicts.of_text(edit.text, str(path), host.is_python(path)))
        readable = not bom or kind is config_py
        if not readable:
            edit.notes.append(f"{path}: begins with a byte order mark, which TDgpt cannot read: save it without one")
        return files.encode(bom + edit.text), edit.notes, readable

    keys = ", ".join(endpoint.key for endpoint in selected) or "nothing"
    _change(outcome, path, edited, f"registers {keys}")
    library = outcome.found.code if outcome.found else None
    defaults = conflicts.of_adapters(library) if library else {}
    outcome.conflicts += conflicts.find(conflicts.over(defaults, urls), selected, str(path))


def _change(outcome: Outcome, path: Path, edited: Callable[[bytes], tuple[bytes, list[str], bool]], what: str) -> None:
    """Edit a file of TDgpt's; if somebody else writes it meanwhile, edit what they wrote.

    Args:
        edited: from a file's bytes to (new bytes, notes, whether TDgpt can read them).
    """
    for tries in reversed(range(_TRIES)):
        if (data := files.load(path)) is None:
            return  # removed meanwhile
        old = data
        new, notes, readable = edited(old)
        if new == old:
            outcome.notes += notes
            return
        try:
            if not outcome.dry:
                files.replace(path, old, new)
            break
        except files.Changed:
            if not tries:
                raise
    outcome.notes += notes
    before, after = (files.encode(files.decode(side)[1]).decode(errors="replace") for side in (old, new))
    rows = difflib.unified_diff(before.splitlines(), after.splitlines(), str(path), str(path), lineterm="")
    outcome.diffs.append("\n".join(rows))
    outcome.done.append(f"{path}: {what}")
    outcome.stale |= readable


def _from_template(outcome: Outcome, path: Path, selected: Sequence[Endpoint]) -> None:
    template = None if host.is_python(path) else files.load(install_paths.SHARE / host.INI)
    if template is None or not path.parent.is_dir():
        outcome.notes.append(f"{path}: TDgpt reads it, but it is missing: reinstall TDgpt's configuration")
        return
    edit = ini.register(template.decode(), selected, str(path), from_template=True)
    if not outcome.dry:
        files.create(path, files.encode(edit.text), must_be_new=True)
    outcome.done.append(f"{path}: created from the template, because it did not exist")
    outcome.stale = True


def _restore(outcome: Outcome, path: Path) -> None:
    data = files.load(path) or b""
    stripped = marks.strip(files.decode(data)[1], str(path))
    if stripped.from_template and files.encode(stripped.text) == files.load(install_paths.SHARE / host.INI):
        _remove(outcome, [path], stale=True)
        return

    def without(now: bytes) -> tuple[bytes, list[str], bool]:
        bom, text = files.decode(now)
        return files.encode(bom + marks.strip(text, str(path)).text), [], True

    _change(outcome, path, without, "our lines are removed")


def _install_scripts(outcome: Outcome, families: Sequence[str]) -> None:
    scripts = adapters.scripts(families)
    if scripts and not outcome.dry:
        with _refusal(outcome):
            files.make_folder(install_paths.SCRIPTS)
    _write(outcome, scripts, mode=0o755)
    if scripts or not families:
        _remove(outcome, sorted(set(install_paths.SCRIPTS.glob("*-server.py")) - set(scripts)))
    if not families and not outcome.dry:
        for folder in (install_paths.SCRIPTS, install_paths.TDGPT):
            with contextlib.suppress(OSError):  # others' files are in it, or it was never there
                folder.rmdir()


def _install_adapters(outcome: Outcome, library: Path, selected: Sequence[Endpoint]) -> None:
    found, reasons = adapters.planned(library, selected)
    outcome.notes += reasons
    notes: dict[str, list[Path]] = {}
    for path, source in found.items():
        with _refusal(outcome):
            if files.load(path) != source:
                if note := adapters.check(library, source, path):
                    notes.setdefault(note, []).append(path)
                _write(outcome, {path: source}, mode=0o644)
                outcome.stale = True
    outcome.notes += [f"{', '.join(map(str, paths))}: {note}" for note, paths in notes.items()]
    _remove(outcome, [path for path in adapters.ours(library) if path not in found], stale=True)


def _write(outcome: Outcome, contents: Mapping[Path, bytes], mode: int) -> None:
    for path, data in contents.items():
        with _refusal(outcome):
            if files.load(path) == data and path.stat().st_mode & 0o777 == mode:
                continue
            if not outcome.dry:
                files.create(path, data, mode)
            outcome.done.append(f"{path}: written")


def _remove(outcome: Outcome, paths: Sequence[Path], stale: bool = False) -> None:
    for path in paths:
        with _refusal(outcome):
            if not outcome.dry:
                files.remove(path)
            outcome.done.append(f"{path}: removed")
            outcome.stale |= stale
