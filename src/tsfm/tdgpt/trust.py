"""Which users may change what a path leads to: checks every folder above it and every link on the way."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

_MOST_LINKS = 40  # as the kernel


@dataclass(frozen=True)
class Walk:
    """A path, followed component by component from the root.

    Attributes:
        descriptor: what it leads to, opened with O_PATH; whoever walked closes it.
        real: its name without links.
        foreign: the first component that another user may change or replace, and why; "" for none.
        foreign_link: the first link that belongs to another user; "" for none.
        untrusted: like ``foreign``, but trusts groups, and files that already exist in a sticky folder.
    """

    descriptor: int
    real: Path
    foreign: str
    foreign_link: str
    untrusted: str


def walk(path: Path) -> Walk:
    """Follow the path with every folder held open, so that no name is looked up twice.

    Where ``foreign`` is empty, only root and the user of this process can change the file, the folders above it and
    the links that led to it.

    Raises:
        OSError: it leads nowhere.
    """
    here, at = Path("/"), os.open("/", os.O_PATH | os.O_DIRECTORY)
    left = _parts(path.absolute())
    foreign, foreign_link, untrusted = _why("/", os.fstat(at)), "", ""
    links = 0
    try:
        while left:
            name = left.pop()
            found = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=at)
            facts = os.fstat(found)
            foreign = foreign or _why(here / name, facts)
            untrusted = untrusted or _untrusted(here / name, facts)
            if not stat.S_ISLNK(facts.st_mode):
                os.close(at)
                at, here = found, here.parent if name == ".." else here / name
                continue
            try:
                target = Path(os.readlink("", dir_fd=found))
            finally:
                os.close(found)
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            foreign_link = foreign_link or ("" if _ours(facts) else str(here / name))
            left += _parts(target)
            if target.is_absolute():
                os.close(at)
                here, at = Path("/"), os.open("/", os.O_PATH | os.O_DIRECTORY)
    except BaseException:
        os.close(at)
        raise
    return Walk(at, here, foreign, foreign_link, untrusted)


def _parts(path: Path) -> list[str]:
    return [part for part in reversed(path.parts) if part != "/"]


def _ours(facts: os.stat_result) -> bool:
    return facts.st_uid in (0, os.geteuid())


def _why(name: str | Path, facts: os.stat_result) -> str:
    if not _ours(facts):
        return f"{name} belongs to user {facts.st_uid}"
    # Everybody may create new names in a sticky folder; the mode of a link has no meaning.
    open_to_others = facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not stat.S_ISLNK(facts.st_mode)
    return f"{name} may be changed by other users (mode {stat.S_IMODE(facts.st_mode):04o})" if open_to_others else ""


def _untrusted(name: Path, facts: os.stat_result) -> str:
    for_all = stat.S_IWOTH if not facts.st_mode & stat.S_ISVTX and not stat.S_ISLNK(facts.st_mode) else 0
    return _why(name, facts) if not _ours(facts) or facts.st_mode & for_all else ""
