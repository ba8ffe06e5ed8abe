"""The one idempotent step behind hook, trigger, path unit and command line: files only, no waiting."""

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
from tsfm.tdgpt import adapters, clashes, config_py, endpoints, files, host, ini, marks
from tsfm.tdgpt.endpoints import Endpoint
from tsfm.tdgpt.host import Tdgpt
from tsfm.tdgpt.listed import listed

_LOCK_S = 3.0
_TRIES = 5
"""How often a file is edited that somebody else writes at the same time."""


@dataclass
class Outcome:
    """What the step did, or would do.

    Attributes:
        done: what changed, one sentence for each file.
        notes: what the operator should know.
        clashes: keys that lead to another model's port, and what to do.
        refused: files that were left alone although they need us, and why.
        diffs: what changes in TDgpt's configurations.
        stale: TDgpt runs on what is no longer there.
    """

    found: Tdgpt | None
    dry: bool = False
    done: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    clashes: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    diffs: list[str] = field(default_factory=list)
    stale: bool = False


def register(dry: bool = False, also: Collection[str] = ()) -> Outcome:
    """Put the scripts of the installed families, and adapters and URLs of those that SQL shall list, in place.

    What has left is taken out.

    Args:
        also: installed families to register whatever their units are.

    Raises:
        ConfigError: tsfm.ini is wrong; nothing was changed.
    """
    installed = endpoints.installed()
    shall = listed(installed)
    wanted = [endpoint for endpoint in installed if endpoint in shall or endpoint.family in also]
    outcome = Outcome(host.find(), dry)
    with _alone():
        _place_scripts(outcome, [endpoint.family for endpoint in installed])
        if outcome.found is None:
            outcome.notes.append(
                f"no TDgpt on this host ({install_paths.TDGPT} and {install_paths.ETC}/taosanode.* are missing): "
                "run `tsfm register` once it is installed"
            )
            return outcome
        if library := outcome.found.code:
            _place_adapters(outcome, library, wanted)
        for path in outcome.found.configs:
            with _refusal(outcome):
                _edit(outcome, path, wanted)
        if outcome.found.expected and outcome.found.expected not in outcome.found.configs:
            with _refusal(outcome):
                _from_template(outcome, outcome.found.expected, wanted)
    return outcome


def unregister(dry: bool = False) -> Outcome:
    """Take out every line and file of ours; TDgpt's configurations are what they were before."""
    outcome = Outcome(host.find(), dry)
    with _alone():
        _place_scripts(outcome, [])
        if outcome.found and outcome.found.code:
            _remove(outcome, adapters.ours(outcome.found.code), stale=True)
        for path in outcome.found.configs if outcome.found else ():
            with _refusal(outcome):
                _restore(outcome, path)
        for path in host.places():
            # Also that of a file which TDgpt's removal has taken.
            backup = files.backup_of(path)
            if backup.exists() and not dry:
                with _refusal(outcome):
                    files.remove(backup)
    return outcome


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hook and path unit may run at once: one after the other.

    Anybody may lock a folder, so this waits for a while only; the step is idempotent and its writes atomic.
    """
    try:
        folder = os.open(install_paths.ETC, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield  # no folder, no configuration to fight for
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
    """One file that cannot be done must not keep the others from being done."""
    try:
        yield
    except marks.Refused as refusal:
        outcome.refused.append(str(refusal))


def _edit(outcome: Outcome, path: Path, wanted: Sequence[Endpoint]) -> None:
    kind = config_py if host.is_python(path) else ini

    said: dict[str, str] = {}

    def edited(data: bytes) -> tuple[bytes, list[str], bool]:
        bom, text = files.decode(data)
        edit = kind.register(text, wanted, str(path))
        said.update(clashes.of_text(edit.text, str(path), host.is_python(path)))
        readable = not bom or kind is config_py
        if not readable:
            edit.notes.append(f"{path}: begins with a byte order mark, at which TDgpt stops: save it without")
        return files.encode(bom + edit.text), edit.notes, readable

    keys = ", ".join(endpoint.key for endpoint in wanted) or "nothing"
    _change(outcome, path, edited, f"registers {keys}")
    library = outcome.found.code if outcome.found else None
    defaults = clashes.of_adapters(library) if library else {}
    outcome.clashes += clashes.find(clashes.over(defaults, said), wanted, str(path))


def _change(outcome: Outcome, path: Path, edited: Callable[[bytes], tuple[bytes, list[str], bool]], what: str) -> None:
    """Edit a file of TDgpt's; when somebody else writes it meanwhile, what they wrote is edited.

    Args:
        edited: gives for a file's bytes (what they become, notes, whether TDgpt reads that).
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


def _from_template(outcome: Outcome, path: Path, wanted: Sequence[Endpoint]) -> None:
    template = None if host.is_python(path) else files.load(install_paths.SHARE / host.INI)
    if template is None or not path.parent.is_dir():
        outcome.notes.append(f"{path}: TDgpt reads it, but it is missing: reinstall TDgpt's configuration")
        return
    edit = ini.register(template.decode(), wanted, str(path), from_template=True)
    if not outcome.dry:
        files.create(path, files.encode(edit.text), anew=True)
    outcome.done.append(f"{path}: made from the template, as there was none")
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

    _change(outcome, path, without, "our lines are taken out")


def _place_scripts(outcome: Outcome, families: Sequence[str]) -> None:
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


def _place_adapters(outcome: Outcome, library: Path, wanted: Sequence[Endpoint]) -> None:
    found, reasons = adapters.wanted(library, wanted)
    outcome.notes += reasons
    for path, source in found.items():
        with _refusal(outcome):
            if files.load(path) != source:
                if told := adapters.check(library, source, path):
                    outcome.notes.append(told)
                _write(outcome, {path: source}, mode=0o644)
                outcome.stale = True
    _remove(outcome, [path for path in adapters.ours(library) if path not in found], stale=True)


def _write(outcome: Outcome, contents: Mapping[Path, bytes], mode: int) -> None:
    for path, data in contents.items():
        with _refusal(outcome):
            if files.load(path) == data and path.stat().st_mode & 0o777 == mode:
                continue
            if not outcome.dry:
                files.create(path, data, mode)
            outcome.done.append(f"{path}: put in place")


def _remove(outcome: Outcome, paths: Sequence[Path], stale: bool = False) -> None:
    for path in paths:
        with _refusal(outcome):
            if not outcome.dry:
                files.remove(path)
            outcome.done.append(f"{path}: removed")
            outcome.stale |= stale
