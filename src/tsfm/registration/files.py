"""Replacing a file of somebody else's: at once or not at all, with its owner and mode, one copy kept."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tsfm.registration.marks import Refused

BACKUP = ".tsfm-backup"


def load(path: Path) -> bytes | None:
    """The file's bytes; None when there is none.

    Raises:
        Refused: it cannot be read, or is no file.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise Refused(f"{path}: expected a file, found something else")
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused(f"{path}: cannot be read: {error.strerror}") from None


def decode(data: bytes) -> tuple[str, str]:
    """(byte order mark, the rest as text); any bytes survive the way there and back."""
    text = data.decode("utf-8", "surrogateescape")
    return ("\ufeff", text[1:]) if text.startswith("\ufeff") else ("", text)


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def backup_of(path: Path) -> Path:
    """Where the copy of a file lies: beside the file that a link leads to."""
    real = path.resolve()
    return real.with_name(real.name + BACKUP)


def replace(path: Path, data: bytes, backup: bool = True) -> None:
    """Put ``data`` in the place of an existing file, and its former bytes into its backup.

    Raises:
        Refused: the file system does not let us.
    """
    real = path.resolve()
    try:
        facts = real.stat()
        if backup:
            _write(backup_of(path), real.read_bytes(), facts, real)
        _write(real, data, facts, real)
    except OSError as error:
        raise Refused(f"{path}: cannot be replaced: {error.strerror}; run as root") from None


def create(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file of our own, in its folder that exists.

    Raises:
        Refused: the file system does not let us.
    """
    try:
        with _beside(path) as (descriptor, new):
            os.fchmod(descriptor, mode)
            _fill(descriptor, data)
            new.replace(path)
    except OSError as error:
        raise Refused(f"{path}: cannot be written: {error.strerror}; run as root") from None


def remove(path: Path) -> None:
    """Delete a file that may be gone already.

    Raises:
        Refused: the file system does not let us.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise Refused(f"{path}: cannot be removed: {error.strerror}; run as root") from None


def _write(path: Path, data: bytes, facts: os.stat_result, like: Path) -> None:
    with _beside(path) as (descriptor, new):
        if (facts.st_uid, facts.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(descriptor, facts.st_uid, facts.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(facts.st_mode))
        with contextlib.suppress(OSError):  # no access lists or labels on this file system
            for name in os.listxattr(like):
                os.setxattr(descriptor, name, os.getxattr(like, name))
        _fill(descriptor, data)
        new.replace(path)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[tuple[int, Path]]:
    """A new file in the same folder, which only a rename can keep."""
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
