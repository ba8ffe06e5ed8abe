"""Folders opened by descriptor, so that no name below can be replaced between a check and a write."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import stat
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from tsfm.errors import TsfmError

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY
_WRITE = os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK
_LOOK = os.O_PATH | os.O_CLOEXEC


def open_regular(name: str | Path, folder: int | None = None, follow: bool = True) -> BinaryIO:
    """Open a regular file for reading, and nothing else: opening a pipe blocks, and a device may have side effects.

    Raises:
        OSError: it cannot be opened, is not a regular file (EINVAL), or is a link and ``follow`` is false (ELOOP).
    """
    look = os.open(name, _LOOK | (0 if follow else os.O_NOFOLLOW), dir_fd=folder)
    try:
        mode = os.fstat(look).st_mode
        if stat.S_ISLNK(mode):
            raise OSError(errno.ELOOP, "is a symbolic link", str(name))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(name))
        return os.fdopen(os.open(f"/proc/self/fd/{look}", _READ), "rb")
    finally:
        os.close(look)


class Folder:
    """An open folder; ``path`` is its name for messages, ``here`` a path to it for code that only reads."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self.descriptor = descriptor
        self.path = path

    @property
    def here(self) -> Path:
        return Path(f"/proc/self/fd/{self.descriptor}")

    @property
    def facts(self) -> os.stat_result:
        return os.fstat(self.descriptor)

    def close(self) -> None:
        os.close(self.descriptor)

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def look(self, name: str) -> os.stat_result | None:
        """The stat of the name without following a link; None: no such name."""
        with suppress(FileNotFoundError):
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        return None

    def own(self, name: str) -> bool:
        """Whether the name exists.

        Raises:
            TsfmError: it is a link, or belongs to another user.
        """
        if (found := self.look(name)) is None:
            return False
        self._judge(name, found)
        return True

    def child(self, name: str) -> Folder:
        """The folder of that name, created if needed.

        Raises:
            TsfmError: the name is a link or another user's folder.
        """
        if self.look(name) is None:
            make(self.descriptor, name)
        try:
            found = os.open(name, _READ | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self.descriptor)
        except NotADirectoryError:
            self.own(name)  # reports a link as a link
            raise
        self._judge(name, os.fstat(found))
        return Folder(found, self.path / name)

    def create(self, name: str) -> BinaryIO:
        """A new file; an existing one of that name is replaced."""
        if self.own(name):
            os.unlink(name, dir_fd=self.descriptor)
        return os.fdopen(os.open(name, _WRITE | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=self.descriptor), "wb")

    def resume(self, name: str) -> FileIO:
        """A file to append to, created if needed, unbuffered.

        Raises:
            TsfmError: the name is a link, not a regular file, another user's, or one of several hard links.
        """
        self.own(name)
        found = os.open(name, _WRITE | os.O_RDWR, 0o644, dir_fd=self.descriptor)
        self._judge(name, facts := os.fstat(found))
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
            os.close(found)
            raise TsfmError(f"{self.path / name}: expected a file of its own; delete it and run the command again")
        return os.fdopen(found, "r+b", buffering=0)

    def remove(self, name: str) -> None:
        """Delete the file or folder of that name, if it exists; of a link, only the link."""
        if (found := self.look(name)) is None:
            return
        if stat.S_ISDIR(found.st_mode):
            shutil.rmtree(name, dir_fd=self.descriptor)
        else:
            os.unlink(name, dir_fd=self.descriptor)

    def move(self, name: str, into: Folder, new: str) -> None:
        os.rename(name, new, src_dir_fd=self.descriptor, dst_dir_fd=into.descriptor)

    def publish(self, name: str) -> None:
        """Make the file readable for all users, whatever the umask, and sync it to the disk."""
        with self.resume(name) as stream:
            readable(stream.fileno(), 0o644)
            os.fsync(stream.fileno())

    def sync(self) -> None:
        os.fsync(self.descriptor)

    def _judge(self, name: str, found: os.stat_result) -> None:
        path = self.path / name
        if stat.S_ISLNK(found.st_mode):
            raise TsfmError(f"{path} is a symbolic link, and tsfm writes to none: delete it and run the command again")
        # Names of the folder's own owner are trusted as much as the folder itself.
        if found.st_uid not in (os.geteuid(), self.facts.st_uid):
            raise TsfmError(
                f"{path} belongs to {user(found.st_uid)}, not to {user(os.geteuid())}, who runs this command: "
                "check what it is, delete it and run the command again"
            )


def make(folder: int, name: str) -> None:
    """Create a folder that the service's user can read, whatever the umask."""
    with suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=folder)
        made = os.open(name, _READ | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
        try:
            readable(made, 0o755)
        finally:
            os.close(made)


def readable(descriptor: int, mode: int) -> None:
    if os.fstat(descriptor).st_mode & mode != mode:
        with suppress(PermissionError):  # file systems of USB sticks (FAT) have no modes
            os.fchmod(descriptor, mode)


def user(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"
