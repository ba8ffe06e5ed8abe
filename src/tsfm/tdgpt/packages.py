"""Detects a running package manager, and waits until it has finished."""

from __future__ import annotations

import fcntl
import struct
import time

from tsfm import paths

# Lock files that are held from the first to the last step: of apt, of dpkg, and of rpm in its three places.
_LOCKS = (
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/lock",
    "var/lib/rpm/.rpm.lock",
    "usr/lib/sysimage/rpm/.rpm.lock",
    "var/lib/sysimage/rpm/.rpm.lock",
)
_FLOCK = struct.Struct("@hhqqi0q")  # struct flock of fcntl(2): type, whence, start, length, pid
_LIMIT_S = 900.0
_PAUSE_S = 0.5


def wait_until_done(limit_s: float = _LIMIT_S) -> None:
    """Return when no package manager holds its lock, or after ``limit_s``: apt may wait for an answer all night."""
    end = time.monotonic() + limit_s
    while is_running() and time.monotonic() < end:
        time.sleep(_PAUSE_S)  # the lock is only looked at and not taken, so there is no event to wait for


def is_running() -> bool:
    """Whether a package manager holds its lock."""
    return any(_is_held(name) for name in _LOCKS)


def _is_held(name: str) -> bool:
    try:
        with (paths.ROOT / name).open("rb") as file:
            query = _FLOCK.pack(fcntl.F_WRLCK, 0, 0, 0, 0)
            answer = fcntl.fcntl(file, fcntl.F_GETLK, query)
    except (FileNotFoundError, PermissionError):
        return False  # this package manager is not here, or we are not root, who alone runs it
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)
