"""Replaces another program's file in one step, keeps its owner and mode, and keeps one backup.

Folders stay open while we work in them, so each name is looked up once. A link on the way that another user could
change is not followed. What somebody else writes meanwhile is never lost: see ``swap``.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tsfm.tdgpt import swap, trust
from tsfm.tdgpt.marks import Refused
from tsfm.tdgpt.swap import Changed

__all__ = ["BACKUP", "Changed", "backup_of", "create", "decode", "encode", "load", "make_folder", "remove", "replace"]

BACKUP = ".tsfm-backup"


def load(path: Path) -> bytes | None:
    """The file's bytes; None when there is none.

    Raises:
        Refused: it cannot be read, or is no file.
    """
    try:
        with _opened(path) as (descriptor, _):
            return swap.content(descriptor)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused(f"{path}: cannot be read: {error.strerror}") from None


def decode(data: bytes) -> tuple[str, str]:
    """(byte order mark, the rest as text); ``encode`` restores the same bytes, whatever they are."""
    text = data.decode("utf-8", "surrogateescape")
    return ("\ufeff", text[1:]) if text.startswith("\ufeff") else ("", text)


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def backup_of(path: Path) -> Path:
    """The path of a file's backup: in the folder of the real file, if ``path`` is a link."""
    real = path.resolve()
    return real.with_name(real.name + BACKUP)


def replace(path: Path, expected: bytes, data: bytes) -> None:
    """Put ``data`` in the place of an existing file, and its former bytes ``expected`` into its backup.

    Raises:
        Changed: it no longer holds ``expected``; what somebody else wrote stays.
        Refused: the file system does not let us.
    """
    try:
        with _opened(path) as (old, real), _held(real.parent) as folder:
            if swap.content(old) != expected:
                raise Changed(path)
            _write(folder / (real.name + BACKUP), expected, old)
            with _beside(folder / real.name) as (descriptor, new):
                _like(descriptor, old)
                _fill(descriptor, data)
                swap.swap(new, descriptor, folder / real.name, old, expected, path)
    except FileNotFoundError:
        raise Changed(path) from None
    except OSError as error:
        raise Refused(f"{path}: cannot be replaced: {error.strerror}; run as root") from None


def create(path: Path, data: bytes, mode: int = 0o644, must_be_new: bool = False) -> None:
    """Write a file of our own, in its folder that exists.

    Args:
        anew: the file must not exist yet; one that somebody else makes meanwhile stays.

    Raises:
        Changed: there is one now.
        Refused: the file system does not let us.
    """
    try:
        with _held(path.parent) as folder, _beside(folder / path.name) as (descriptor, new):
            os.fchmod(descriptor, mode)
            _fill(descriptor, data)
            if must_be_new:
                os.link(new, folder / path.name)
            else:
                new.replace(folder / path.name)
    except FileExistsError:
        raise Changed(path) from None
    except OSError as error:
        raise Refused(f"{path}: cannot be written: {error.strerror}; run as root") from None


def remove(path: Path) -> None:
    """Delete a file if it exists.

    Raises:
        Refused: the file system does not let us.
    """
    try:
        with _held(path.parent) as folder:
            (folder / path.name).unlink(missing_ok=True)
    except FileNotFoundError:
        return
    except OSError as error:
        raise Refused(f"{path}: cannot be removed: {error.strerror}; run as root") from None


def make_folder(path: Path) -> None:
    """Make the folder and its missing parents, readable for everybody.

    Raises:
        Refused: the file system does not let us.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        for folder in reversed(missing):
            with _held(folder.parent) as parent:
                os.mkdir(parent / folder.name)
                descriptor = os.open(parent / folder.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            os.fchmod(descriptor, 0o755)  # whatever the umask of who runs us
            os.close(descriptor)
    except OSError as error:
        raise Refused(f"{path}: cannot be made: {error.strerror}; run as root") from None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[int, Path]]:
    """The file, opened for reading, and its name without links."""
    with _walked(path) as found:
        if not stat.S_ISREG(os.fstat(found.descriptor).st_mode):
            raise Refused(f"{path}: expected a file, found something else")
        descriptor = os.open(f"/proc/self/fd/{found.descriptor}", os.O_RDONLY)
        try:
            yield descriptor, found.real
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[Path]:
    """A path that leads to this folder even if another one takes its name."""
    with _walked(folder) as found:
        yield Path(f"/proc/self/fd/{found.descriptor}")


@contextlib.contextmanager
def _walked(path: Path) -> Iterator[trust.Walk]:
    found = trust.walk(path)
    try:
        if found.foreign_link:
            raise Refused(
                f"{path}: contains the link {found.foreign_link}, which belongs to another user: make root its owner"
            )
        yield found
    finally:
        os.close(found.descriptor)


def _write(path: Path, data: bytes, like: int) -> None:
    with _beside(path) as (descriptor, new):
        _like(descriptor, like)
        _fill(descriptor, data)
        new.replace(path)


def _like(descriptor: int, other: int) -> None:
    """Give a new file the owner, the mode, the access lists and the labels of another."""
    facts = os.fstat(other)
    if (facts.st_uid, facts.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, facts.st_uid, facts.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(facts.st_mode))
    with contextlib.suppress(OSError):  # no access lists or labels on this file system
        for name in os.listxattr(other):
            os.setxattr(descriptor, name, os.getxattr(other, name))


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[tuple[int, Path]]:
    """A new temporary file in the same folder; it is deleted unless a rename keeps it."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tsfm", dir=path.parent)
    new = Path(name)
    try:
        yield descriptor, new
    finally:
        os.close(descriptor)
        new.unlink(missing_ok=True)


def _fill(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)
