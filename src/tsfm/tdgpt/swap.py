"""Replaces an old file by a new one without losing what somebody else writes at the same moment.

A lease delays everybody who wants to open the old file. The kernel then exchanges the two names in one step. The two
are exchanged back if the file that came out is not the one that was read, if its bytes have changed, or if somebody
waits to open it.
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
"""Seconds that a writer may keep the file open."""


class Changed(Refused):
    """The file is no longer what was read: read it again."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: another program is writing it; run `tsfm register` again when that is done")


def content(descriptor: int) -> bytes:
    """All bytes of an open file."""
    parts = []
    at = 0
    while part := os.pread(descriptor, 1 << 20, at):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def swap(new: Path, ours: int, path: Path, old: int, expected: bytes, name: Path) -> None:
    """Replace the file that is open as ``old`` and holds ``expected`` by ``new``, which is open as ``ours``.

    Args:
        name: the file's name in messages.

    Raises:
        Changed: another file is at ``path``, or it holds other bytes; that file stays there unchanged.
    """
    lease, newer = _Lease(old), _Lease(ours)
    try:
        if not lease.idle() or content(old) != expected:
            raise Changed(name)
        newer.take(fcntl.F_WRLCK)
        done = _exchanged if _exchange(new, path) else _replaced
        if not done(new, ours, path, lease, expected):
            raise Changed(name)
    finally:
        lease.end()
        newer.end()


def _exchanged(new: Path, ours: int, path: Path, lease: _Lease, expected: bytes) -> bool:
    """Whether the old file came out unchanged; if not, the other program's file is put back."""
    if _same(new, lease.descriptor) and lease.unchanged(expected):
        return True
    # If another program has replaced ours meanwhile, its file stays.
    if _same(path, ours) and _exchange(new, path) and not _same(new, ours):
        _exchange(new, path)
    return False


def _replaced(new: Path, ours: int, path: Path, lease: _Lease, expected: bytes) -> bool:
    """The closest to ``_exchanged`` on a file system that cannot exchange two names."""
    saved = new.with_name(f"{new.name}-old")
    os.link(path, saved)
    try:
        if not _same(saved, lease.descriptor):
            return False
        new.replace(path)
        if lease.unchanged(expected):
            return True
        saved.replace(path)
        return False
    finally:
        saved.unlink(missing_ok=True)


def _same(path: Path, descriptor: int) -> bool:
    return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))


def _exchange(one: Path, other: Path) -> bool:
    """Whether the two names changed places; False: the file system, or the kernel, cannot do that."""
    try:
        import ctypes  # the standard library has no such call; ctypes cannot be imported in every sandbox
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
    """Delays every other program that opens a file, where the kernel and the file system support leases."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._held = False

    def idle(self) -> bool:
        """Whether nobody is writing the file, once writers have had time to finish."""
        deadline = time.monotonic() + _WRITER_S
        # While others read the file, only a lease against writers can be had.
        while not (self.take(fcntl.F_WRLCK) or self.take(fcntl.F_RDLCK)):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)  # the kernel sends no event when a file is closed
        return True

    def take(self, kind: int) -> bool:
        """Take the lease; False: another program has the file open in a way that the lease forbids."""
        try:
            # The kernel signals a waiting program: SIGIO would end this process, SIGURG is ignored by default.
            fcntl.fcntl(self.descriptor, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(self.descriptor, fcntl.F_SETLEASE, kind)
            self._held = True
        except BlockingIOError:
            return False
        except OSError:
            return True  # no leases here: comparing the bytes before and after has to be enough
        return True

    def unchanged(self, expected: bytes) -> bool:
        """Whether the file holds ``expected`` and nobody waits to write it."""
        awaited = self._held and fcntl.fcntl(self.descriptor, fcntl.F_GETLEASE) == fcntl.F_UNLCK
        return not awaited and content(self.descriptor) == expected

    def end(self) -> None:
        if self._held:
            fcntl.fcntl(self.descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
