"""Putting a new file in an old one's place without losing what somebody else writes at the same moment.

The two change places in one step of the kernel. Then what came out is looked at: when it is not the file that
was read, or holds other bytes by now, or somebody still has it open for writing, the two change back.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from pathlib import Path

from tsfm.registration.marks import Refused

_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
_HERE = -100  # AT_FDCWD
_WRITER_S = 0.5
"""How long a writer may take from its opening the file to its closing it."""


class Changed(Refused):
    """The file is no longer what was read: read it again."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: somebody else is writing it; run `tsfm register` again when that is done")


def content(descriptor: int) -> bytes:
    """All bytes of an open file."""
    size = os.fstat(descriptor).st_size
    parts = []
    at = 0
    while part := os.pread(descriptor, max(size - at, 1 << 16), at):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def swap(new: Path, place: Path, old: int, was: bytes, name: Path) -> None:
    """Put ``new`` at ``place``, where the open file ``old`` is and holds ``was``; ``new`` then names that one.

    Args:
        name: the file's name in what is told.

    Raises:
        Changed: another file is at ``place``, or it holds other bytes; it is there afterwards, with all of them.
    """
    ours = os.stat(new).st_ino
    if not _exchange(new, place):
        _replace(new, place, old, was, name)
        return
    if os.stat(new).st_ino == os.fstat(old).st_ino and _let_alone(old) and content(old) == was:
        return
    # Theirs goes back; where they have laid a newer one over ours meanwhile, that one stays.
    if os.stat(place).st_ino == ours and _exchange(new, place) and os.stat(new).st_ino != ours:
        _exchange(new, place)
    raise Changed(name)


def _replace(new: Path, place: Path, old: int, was: bytes, name: Path) -> None:
    """As near as a file system comes to it that cannot exchange two names."""
    if os.stat(place).st_ino != os.fstat(old).st_ino or not _let_alone(old) or content(old) != was:
        raise Changed(name)
    new.replace(place)


def _exchange(one: Path, other: Path) -> bool:
    """Whether the two names changed places; False: the file system, or the kernel, cannot do that."""
    try:
        import ctypes  # the standard library has no word for it, and ctypes does not start in every sandbox
    except (ImportError, MemoryError):
        return False
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code))


def _let_alone(descriptor: int) -> bool:
    """Whether nobody has the file open for writing, once writers have had time to finish."""
    deadline = time.monotonic() + _WRITER_S
    while _is_being_written(descriptor):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)  # the kernel tells no one that a file was closed
    return True


def _is_being_written(descriptor: int) -> bool:
    # A read lease is granted where nobody has the file open for writing; file systems without leases say so.
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
