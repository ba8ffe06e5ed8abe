"""Put files into the family's folder so that a checkpoint is either complete there or not there at all."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from tsfm.card import Checkpoint
from tsfm.checkpoints import PARTIAL, bytes_below, failure_note
from tsfm.errors import TsfmError
from tsfm.store import manifest
from tsfm.store.manifest import File, Manifest

LOCK = ".tsfm.lock"
_OLD = ".old-"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the family's folder ``root``, made if it is not there; wait for whoever holds it.

    Raises:
        TsfmError: the folder cannot be written.
    """
    with plain_errors(root):
        _make_folder(root)
        lock = _take(root)
    with lock:
        try:
            yield
        finally:
            (root / LOCK).unlink(missing_ok=True)


def _take(root: Path) -> TextIO:
    path = root / LOCK
    while True:
        lock = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+")
        _give(path, root)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"tsfm: waiting for process {lock.read().strip()}, which is at work in {root}", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        # Who held it deleted the file at the end: then this lock is on nothing, and a new file is needed.
        current = False
        with suppress(FileNotFoundError):
            current = os.path.samestat(path.stat(), os.fstat(lock.fileno()))
        if current:
            lock.seek(0)
            lock.truncate()
            print(os.getpid(), file=lock, flush=True)
            return lock
        lock.close()


@contextmanager
def plain_errors(folder: Path) -> Iterator[None]:
    """Turn what the file system refuses into one sentence with the way out."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise TsfmError(
                f"{folder}: the disk is full; what has arrived is kept, so free some and try again"
            ) from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise TsfmError(
                f"{folder} cannot be written ({error.strerror}): run the command as root, or give another --folder"
            ) from None
        raise TsfmError(f"{folder}: {error.strerror or error}") from None


def staging(root: Path, checkpoint: Checkpoint) -> Path:
    """The folder in which the checkpoint is put together; what a broken-off download left is in it."""
    folder = root / f"{PARTIAL}{checkpoint.folder}"
    _make_folder(folder)
    return folder


def forget(folder: Path, checkpoint: Checkpoint) -> None:
    """Take the checkpoint's files out of the staging folder; a download's broken-off beginning stays."""
    for name in checkpoint.files:
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # not empty: the beginning of a download
        folder.rmdir()


def require_space(folder: Path, needed: int) -> None:
    """Refuse what cannot fit.

    Raises:
        TsfmError: the disk of ``folder`` has less than ``needed`` bytes free.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise TsfmError(f"not enough disk: {megabytes(needed)} are needed in {folder}, {megabytes(free)} are free")


def megabytes(count: int) -> str:
    """A number of bytes for people: "34.6 MB"."""
    return f"{count / 1e6:.1f} MB"


def settle(folder: Path, target: Path, listed: Manifest) -> None:
    """Make the staging folder, whose files have been checked, the folder of the checkpoint.

    Everything is on the disk before the name is: a power cut leaves the folder complete or absent.
    """
    _finish(folder, target.parent, listed)
    old = target.with_name(f"{_OLD}{target.name}")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    folder.rename(target)
    _flush(target.parent)
    shutil.rmtree(old, ignore_errors=True)
    failure_note(target.parent, target.name).unlink(missing_ok=True)


def settle_flat(folder: Path, root: Path, listed: Manifest) -> None:
    """Move the files of the staging folder into the family's folder itself, where TDgpt looks for its own.

    The manifest goes first and comes last, so that it never speaks of other files than are there.
    """
    _finish(folder, root, listed)
    (root / manifest.NAME).unlink(missing_ok=True)
    for name in (*(file.name for file in listed.files), manifest.NAME):
        (folder / name).replace(root / name)
    _flush(root)
    shutil.rmtree(folder)


def _finish(folder: Path, root: Path, listed: Manifest) -> None:
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's notes
    (folder / manifest.NAME).write_text(listed.text(), encoding="utf-8")
    for path in (*(folder / file.name for file in listed.files), folder / manifest.NAME, folder):
        _readable(path, 0o755 if path is folder else 0o644)
        _give(path, root)
        _flush(path)


@contextmanager
def noted(root: Path, checkpoint: Checkpoint) -> Iterator[None]:
    """Leave a failure's sentence where the service, which will lack the weights, finds it."""
    try:
        yield
    except TsfmError as error:
        with suppress(OSError):  # no room, or no permission: that is what the sentence says then
            failure_note(root, checkpoint.folder).write_text(f"{error}\n", encoding="utf-8")
            _readable(failure_note(root, checkpoint.folder), 0o644)
        raise


def step_down(root: Path) -> None:
    """Go on as the user whom the family's folder belongs to, where that is not root.

    So the downloader is never root where the unit, which is that user, has been at work, and the
    unit can go on with what this leaves. Nothing comes back up.
    """
    if os.geteuid() == 0 and root.is_dir() and (owner := root.stat()).st_uid:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def remove(root: Path, checkpoint: Checkpoint, flat: bool) -> int:
    """Delete the checkpoint with what a broken-off download left; ``flat``: also directly in ``root``.

    Only the files of the checkpoint are deleted from ``root`` itself: it is shared with TDgpt.

    Returns:
        How many bytes became free.
    """
    freed = 0
    for folder in (checkpoint.folder, f"{PARTIAL}{checkpoint.folder}", f"{_OLD}{checkpoint.folder}"):
        if (root / folder).is_dir():
            freed += bytes_below(root / folder)
            shutil.rmtree(root / folder)
    failure_note(root, checkpoint.folder).unlink(missing_ok=True)
    for name in (*checkpoint.files, manifest.NAME) if flat else ():
        if (root / name).is_file():
            freed += (root / name).stat().st_size
            (root / name).unlink()
    return freed


def listed_file(folder: Path, name: str) -> tuple[File, str]:
    """A file's entry in the manifest, and its name as a git blob."""
    path = folder / name
    size = path.stat().st_size
    with path.open("rb") as stream:
        sha256, blob = manifest.hash_file(stream, size)
    return File(name, size, sha256), blob


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    # Under whatever umask this runs, the service's user must be able to read what comes here.
    folder.mkdir(exist_ok=True)
    _readable(folder, 0o755)


def _give(path: Path, like: Path) -> None:
    owner = like.stat()
    if os.geteuid() == 0 and owner.st_uid != path.stat().st_uid:
        os.chown(path, owner.st_uid, owner.st_gid)


def _readable(path: Path, mode: int) -> None:
    if path.stat().st_mode & mode != mode:
        with suppress(PermissionError):  # the file system of a USB stick keeps no modes
            path.chmod(mode)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
