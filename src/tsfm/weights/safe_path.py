"""Safe path walks and changes of user: root trusts no name that another user can change.

A family's folder belongs to the user who downloads, and root works in it as well. So root follows no
link that another user can make, and acts as the owner in a folder of another user.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tsfm.errors import TsfmError
from tsfm.weights import folder
from tsfm.weights.folder import Folder, open_regular

_LOOK = os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
_LINKS = 40  # as many as Linux follows
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class Nearest:
    """The existing part of a folder's path; ``missing`` are the names that ``make`` creates."""

    def __init__(self, descriptor: int, path: Path, missing: tuple[str, ...] = ()) -> None:
        self.descriptor = descriptor
        self.path = path
        self.missing = missing

    @property
    def owner(self) -> os.stat_result:
        return os.fstat(self.descriptor)

    def make(self) -> Folder:
        """Create the missing folders and open the last one.

        Raises:
            TsfmError: another user has created one meanwhile.
        """
        found = os.open(".", _OPEN, dir_fd=self.descriptor)
        # After a link the real path differs from ``path``: then only the whole path is used in messages.
        known = len(self.path.parts) > len(self.missing)
        for left, name in zip(range(len(self.missing) - 1, -1, -1), self.missing, strict=True):
            with Folder(found, self.path.parents[left] if known else self.path) as above:
                found = above.child(name).descriptor
        return Folder(found, self.path)

    def step_down(self) -> None:
        """As root, change permanently to the owner of the folder, unless that is root."""
        if (uid := self.owner.st_uid) and os.geteuid() == 0:
            gid = _group(self.owner)
            with _change_of_user(uid):
                os.setgroups([])
                os.setresgid(gid, gid, gid)
                os.setresuid(uid, uid, uid)

    @contextmanager
    def as_owner(self) -> Iterator[None]:
        """As root, act as the owner of the folder, unless that is root, and change back afterwards."""
        with acting(self.owner):
            yield


@contextmanager
def acting(owner: os.stat_result) -> Iterator[None]:
    """As root, act with the file permissions of ``owner`` and change back; no effect for other users."""
    if os.geteuid() or not owner.st_uid:
        yield
        return
    groups, gid = os.getgroups(), os.getegid()
    try:
        with _change_of_user(owner.st_uid):
            os.setgroups([])
            os.setegid(_group(owner))
            os.seteuid(owner.st_uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        with suppress(PermissionError):  # then setgroups([]) failed as well
            os.setgroups(groups)


@contextmanager
def _change_of_user(uid: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # root of a container has no rights over users outside it
        raise TsfmError(
            f"the folder belongs to {folder.user(uid)}, and root cannot become that user here ({error.strerror}): "
            "run the command as that user"
        ) from None


@contextmanager
def nearest(path: Path, start: Folder | None = None, name: str = "") -> Iterator[Nearest]:
    """Walk to the folder ``path``, as far as it exists.

    Args:
        start, name: an open folder to start from and the path from there; without them all of ``path`` is walked.

    Raises:
        TsfmError: another user can change a link on the path; the message has the remedy.
    """
    begin = os.dup(start.descriptor) if start else os.open("/" if path.is_absolute() else ".", _LOOK)
    try:
        held, missing = _walk(begin, Path(name) if start else path, path)
    except OSError as error:
        raise TsfmError(f"{path} cannot be reached by {folder.user(os.geteuid())}: {error.strerror}") from None
    try:
        yield Nearest(held, path, missing)
    finally:
        os.close(held)


def _walk(held: int, rest: Path, path: Path) -> tuple[int, tuple[str, ...]]:
    """The last existing folder on the path, and the names after it; ``held`` is closed."""
    names, links = _parts(rest), 0
    try:
        while names and (facts := _look(held, names[0])) and stat.S_IFMT(facts.st_mode) in (stat.S_IFLNK, stat.S_IFDIR):
            if stat.S_ISDIR(facts.st_mode):
                below = os.open(names.pop(0), _LOOK | os.O_NOFOLLOW, dir_fd=held)
            elif (links := links + 1) > _LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            else:
                target = Path(os.readlink(names[0], dir_fd=held))
                _require_trusted(os.fstat(held), facts, path, target)
                names[:1] = _parts(target)
                below = os.open("/", _LOOK) if target.is_absolute() else os.dup(held)
            os.close(held)
            held = below
    except BaseException:
        os.close(held)
        raise
    return held, tuple(names)


def _parts(path: Path) -> list[str]:
    return [part for part in path.parts if part != "/"]


def _look(held: int, name: str) -> os.stat_result | None:
    with suppress(FileNotFoundError, NotADirectoryError):
        return os.stat(name, dir_fd=held, follow_symlinks=False)
    return None


def open_found(held: Folder, name: str) -> BinaryIO:
    """Open a file to copy; root follows a link only with the permissions of the user who could have made it.

    Otherwise a user could let root publish a file that the user may not read.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
        TsfmError: it is a link, or one of several hard links, that any user could have made.
    """
    if os.geteuid() or only_roots(facts := held.facts):
        return open_regular(name, held.descriptor)
    try:
        stream = open_regular(name, held.descriptor, follow=False)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    else:
        if os.fstat(stream.fileno()).st_nlink == 1:
            return stream
        stream.close()
    if not facts.st_uid:
        raise TsfmError(
            f"{held.path / name} is a link that another user could have made: give the path of the real file"
        )
    with acting(facts):
        return open_regular(name, held.descriptor)


def only_roots(facts: os.stat_result) -> bool:
    """Whether only root can create names in the folder."""
    return facts.st_uid == 0 and not facts.st_mode & _OTHERS


def _require_trusted(above: os.stat_result, link: os.stat_result, path: Path, target: Path) -> None:
    trusted = link.st_uid == 0 and only_roots(above) if os.geteuid() == 0 else link.st_uid in (0, os.geteuid())
    if not trusted:
        owner_name = folder.user(link.st_uid or above.st_uid)
        raise TsfmError(
            f"{path} leads through a symbolic link to {target} that {owner_name} can change, so it is not followed: "
            "give the path of the real folder"
        )


def _group(owner: os.stat_result) -> int:
    """The owner's primary group; the folder's group may be root's."""
    try:
        return pwd.getpwuid(owner.st_uid).pw_gid
    except KeyError:
        return owner.st_gid or owner.st_uid
