"""Putting a new file in an old one's place without losing what somebody else writes at the same moment.

A lease holds off everybody who wants to open the old file. The two then change places in one step of the kernel,
and what came out is looked at: when it is not the file that was read, or holds other bytes by now, or somebody
waits to open it, the two change back.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from pathlib import Path

from tsfm.tdgpt.marks import Refused

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
    parts = []
    at = 0
    while part := os.pread(descriptor, 1 << 20, at):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def swap(new: Path, ours: int, place: Path, old: int, was: bytes, name: Path) -> None:
    """Put ``new`` (open as ``ours``) in the place of the file that is open as ``old`` and holds ``was``.

    Args:
        name: the file's name in what is told.

    Raises:
        Changed: another file is at ``place``, or it holds other bytes; it is there afterwards, with all of them.
    """
    lease, newer = _Lease(old), _Lease(ours)
    try:
        if not lease.quiet() or content(old) != was:
            raise Changed(name)
        newer.take(fcntl.F_WRLCK)
        done = _exchanged if _exchange(new, place) else _replaced
        if not done(new, ours, place, lease, was):
            raise Changed(name)
    finally:
        lease.end()
        newer.end()


def _exchanged(new: Path, ours: int, place: Path, lease: _Lease, was: bytes) -> bool:
    """Whether it is the old file that came out, as it was; else theirs is back in its place."""
    if _same(new, lease.descriptor) and lease.still(was):
        return True
    # Where they have laid a newer one over ours meanwhile, that one stays.
    if _same(place, ours) and _exchange(new, place) and not _same(new, ours):
        _exchange(new, place)
    return False


def _replaced(new: Path, ours: int, place: Path, lease: _Lease, was: bytes) -> bool:
    """The same as near as a file system comes to it that cannot exchange two names."""
    kept = new.with_name(f"{new.name}-old")
    os.link(place, kept)
    try:
        if not _same(kept, lease.descriptor):
            return False
        new.replace(place)
        if lease.still(was):
            return True
        kept.replace(place)
        return False
    finally:
        kept.unlink(missing_ok=True)


def _same(path: Path, descriptor: int) -> bool:
    return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))


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


class _Lease:
    """Holding off whoever wants to open a file, where the kernel and the file system have leases for it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._held = False

    def quiet(self) -> bool:
        """Whether nobody is writing the file, once writers have had time to finish."""
        deadline = time.monotonic() + _WRITER_S
        # A lease against writers alone is what there is while others read.
        while not (self.take(fcntl.F_WRLCK) or self.take(fcntl.F_RDLCK)):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)  # the kernel tells no one that a file was closed
        return True

    def take(self, kind: int) -> bool:
        """Hold the file; False: somebody has it open already in a way that the lease forbids."""
        try:
            # Whoever waits is told by a signal: SIGIO would end us, this one is ignored unless asked for.
            fcntl.fcntl(self.descriptor, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(self.descriptor, fcntl.F_SETLEASE, kind)
            self._held = True
        except BlockingIOError:
            return False
        except OSError:
            return True  # none to be had: the looks before and after have to do
        return True

    def still(self, was: bytes) -> bool:
        """Whether the file holds ``was`` and nobody waits to write it."""
        awaited = self._held and fcntl.fcntl(self.descriptor, fcntl.F_GETLEASE) == fcntl.F_UNLCK
        return not awaited and content(self.descriptor) == was

    def end(self) -> None:
        if self._held:
            fcntl.fcntl(self.descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
