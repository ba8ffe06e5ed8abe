"""Install files into the family's folder atomically: a checkpoint is either complete there or absent."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from tsfm.card import Checkpoint
from tsfm.errors import TsfmError
from tsfm.weights import manifest
from tsfm.weights.checkpoints import PARTIAL, bytes_below, failure_note
from tsfm.weights.folder import Folder, open_regular, readable
from tsfm.weights.manifest import File, Manifest
from tsfm.weights.safe_path import Nearest

LOCK = ".tsfm.lock"
_HIDDEN = 65534  # what every other user is in the sandbox of tsfm-pull@, by PrivateUsers=
_OLD = ".old-"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def locked(near: Nearest) -> Iterator[Folder]:
    """Lock the family's folder, creating it if needed; wait for a process that holds the lock.

    First undoes a replacement that a crash left unfinished.

    Raises:
        TsfmError: the folder cannot be written, or a name in it belongs to another user.
    """
    with plain_errors(near.path):
        root = near.make()
    with root:
        with plain_errors(near.path):
            lock = _take(root)
        with lock:
            try:
                with plain_errors(near.path):
                    _recover(root)
                yield root
            finally:
                root.remove(LOCK)


def _take(root: Folder) -> FileIO:
    while True:
        lock = root.resume(LOCK)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = lock.read(20).decode(errors="replace").strip()
            print(f"tsfm: waiting for process {holder}, which is writing to {root.path}", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        # The previous holder deletes the file at the end; a lock on a deleted file is void, so open a new one.
        current = root.look(LOCK)
        if current and os.path.samestat(current, os.fstat(lock.fileno())):
            readable(lock.fileno(), 0o644)
            lock.seek(0)
            lock.truncate()
            lock.write(f"{os.getpid()}\n".encode())
            return lock
        lock.close()


def _recover(root: Folder) -> None:
    """Undo a replacement of a folder that a crash stopped between its two renames."""
    for name in os.listdir(root.descriptor):
        before = name.removeprefix(_OLD)
        if before != name and root.own(name) and root.look(before) is None:
            root.move(name, root, before)


@contextmanager
def plain_errors(folder: Path) -> Iterator[None]:
    """Turn an OSError of the file system into one sentence with its remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise TsfmError(
                f"{folder}: the disk is full; free some space and run the command again: received bytes are kept"
            ) from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise TsfmError(
                f"{folder} cannot be written ({error.strerror}){_owned_by(folder)}: "
                "run the command as root, or give another --folder"
            ) from None
        raise TsfmError(f"{folder}: {error.strerror or error}") from None


def _owned_by(folder: Path) -> str:
    """The owner of the folder, or of its nearest existing parent."""
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    number = existing.stat().st_uid
    if number == _HIDDEN:
        return f"; {existing} belongs to another user"
    try:
        return f"; {existing} belongs to {existing.owner()}"
    except KeyError:  # an owner without a name
        return f"; {existing} belongs to user {number}"


def staging(root: Folder, checkpoint: Checkpoint) -> Folder:
    """The staging folder of the checkpoint; it holds the rest of an interrupted download."""
    root.own(checkpoint.folder)  # this will be replaced: refuse before the download, not after it
    return root.child(f"{PARTIAL}{checkpoint.folder}")


def discard(root: Folder, checkpoint: Checkpoint) -> None:
    """Delete the checkpoint's files from the staging folder; keep partial files of an interrupted download."""
    with staging(root, checkpoint) as folder:
        for name in checkpoint.files:
            folder.remove(name)
        empty = not os.listdir(folder.descriptor)
    if empty:
        root.remove(f"{PARTIAL}{checkpoint.folder}")


def require_space(folder: Folder, needed: int) -> None:
    """Refuse a copy that does not fit on the disk.

    Raises:
        TsfmError: the disk of ``folder`` has less than ``needed`` bytes free.
    """
    free = shutil.disk_usage(folder.descriptor).free
    if needed > free:
        raise TsfmError(f"not enough disk: {megabytes(needed)} are needed in {folder.path}, {megabytes(free)} are free")


def megabytes(count: int) -> str:
    """A number of bytes for people: "34.6 MB"."""
    return f"{count / 1e6:.1f} MB"


def commit(root: Folder, folder: Folder, checkpoint: Checkpoint, listed: Manifest) -> None:
    """Rename the staging folder, whose files are checked, to the folder of the checkpoint.

    All data is synced before the rename: after a power cut the folder is complete or absent, or,
    between the two renames, under its old name, from which ``locked`` restores it.
    """
    _finish(folder, listed)
    name, old = checkpoint.folder, f"{_OLD}{checkpoint.folder}"
    root.remove(old)
    if root.own(name):
        root.move(name, root, old)
    root.move(folder.path.name, root, name)
    root.sync()
    root.remove(old)
    root.remove(failure_note(root.path, name).name)


def commit_flat(root: Folder, folder: Folder, _: Checkpoint, listed: Manifest) -> None:
    """Move the files of the staging folder directly into the family's folder, where TDgpt looks for its files.

    The old manifest is deleted first and the new one moved last, so a manifest always matches the files.
    """
    _finish(folder, listed)
    root.remove(manifest.NAME)
    for name in (*(file.name for file in listed.files), manifest.NAME):
        folder.move(name, root, name)
    root.sync()
    root.remove(folder.path.name)


def _finish(folder: Folder, listed: Manifest) -> None:
    names = [file.name for file in listed.files]
    for name in {*os.listdir(folder.descriptor)} - {*names}:
        folder.remove(name)  # left by earlier downloads
    with folder.create(manifest.NAME) as stream:
        stream.write(listed.text().encode())
    for name in (*names, manifest.NAME):
        folder.publish(name)
    readable(folder.descriptor, 0o755)
    folder.sync()


@contextmanager
def recording_failure(root: Folder, checkpoint: Checkpoint) -> Iterator[None]:
    """Write the sentence of a failure to a file that the service reads when the weights are missing."""
    try:
        yield
    except TsfmError as error:
        name = failure_note(root.path, checkpoint.folder).name
        # Disk full, no permission, or another user's name: the error that is raised already says so.
        with suppress(OSError, TsfmError):
            with root.create(name) as stream:
                stream.write(f"{error}\n".encode())
            root.publish(name)
        raise


def remove(root: Folder, checkpoint: Checkpoint, flat: bool) -> int:
    """Delete the checkpoint and partial downloads of it; ``flat``: also its files directly in ``root``.

    Only the files of the checkpoint are deleted from ``root`` itself: it is shared with TDgpt.

    Returns:
        The number of bytes freed.
    """
    freed = 0
    for name in (checkpoint.folder, f"{PARTIAL}{checkpoint.folder}", f"{_OLD}{checkpoint.folder}"):
        if root.own(name):
            freed += bytes_below(root.here / name)
            root.remove(name)
    root.remove(failure_note(root.path, checkpoint.folder).name)
    for name in (*checkpoint.files, manifest.NAME) if flat else ():
        found = root.look(name)
        if found and not stat.S_ISDIR(found.st_mode):
            freed += found.st_size
            root.remove(name)
    return freed


def listed_file(folder: Folder, name: str) -> tuple[File, str]:
    """A file's manifest entry and its git blob hash."""
    with open_regular(name, folder.descriptor, follow=False) as stream:
        size = os.fstat(stream.fileno()).st_size
        sha256, blob = manifest.hash_file(stream, size)
    return File(name, size, sha256), blob
