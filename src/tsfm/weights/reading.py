"""Reading files: what could not be read is told as that, with who may not and what to do, and never as damage."""

from __future__ import annotations

import errno
import os
import pwd
import re
import stat
from pathlib import Path

from tsfm.errors import ConfigError, TsfmError
from tsfm.weights.folder import open_regular

_DENIED = (errno.EACCES, errno.EPERM)
_ABSENT = (errno.ENOENT, errno.ENOTDIR)


def content(path: Path, what: str) -> bytes:
    """All bytes of a small file.

    Args:
        what: what it was expected to be, for the sentence when it is absent.

    Raises:
        ConfigError: absent, or not to be read by this user.
        TsfmError: the disk or the network behind it failed.
    """
    try:
        with open_regular(path) as stream:
            return stream.read()
    except OSError as error:
        raise refused(path, error, what) from None


def refused(path: Path, error: OSError, what: str) -> TsfmError:
    """The error to raise for a file or folder at ``path`` that the system would not let us read."""
    if error.errno in _ABSENT:
        return ConfigError(f"{path}: expected {what}, found no such file")
    if error.errno == errno.EISDIR:
        return ConfigError(f"{path}: expected {what}, found a folder")
    if error.errno == errno.EINVAL:
        return ConfigError(f"{path}: expected {what}, found no regular file")
    sentence, remedy = denial(path, error)
    return (ConfigError if error.errno in _DENIED else TsfmError)(f"{path}: {sentence}; {remedy}")


def denial(path: Path, error: OSError) -> tuple[str, str]:
    """Why ``path`` cannot be read, and what to do."""
    reason = error.strerror or str(error)
    if error.errno == errno.EINVAL:
        return "is no regular file", "put the file itself there"
    if error.errno not in _DENIED:
        return f"cannot be read: {reason}", (
            "the disk or the network file system behind it failed: see `journalctl -k`; the file may be intact"
        )
    barrier = _barrier(path)
    owner = _name(_owner(barrier))
    return (
        f"cannot be read: {reason} to the user {_name(os.geteuid())}",
        f"the file may be intact: as {'root' if owner == 'root' else f'{owner} or root'}, "
        f"run: chmod a+r{'X' if barrier.is_dir() else ''} {barrier}, or chown it",
    )


def trouble(path: Path) -> OSError | None:
    """What the system says when the file or folder is opened and its first byte read; None: it can be read."""
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY))
        else:
            with open_regular(path) as stream:
                stream.read(1)
    except OSError as error:
        return error
    return None


def system(error: Exception) -> OSError | None:
    """The system's own error in what a library of formats raised; None: the system read, and the content is wrong.

    Some say the number in words only, "(os error 5)"; EINVAL is how mapping beyond a file's end is refused.
    """
    said = re.search(r"os error (\d+)", str(error))
    number = error.errno if isinstance(error, OSError) and error.errno else int(said.group(1)) if said else 0
    return OSError(number, os.strerror(number)) if number not in (0, errno.EINVAL) else None


def there(path: Path) -> bool:
    """Whether something is there, or may be: what cannot be looked at is not missing."""
    try:
        path.stat()
    except OSError as error:
        return not absent(error)
    return True


def absent(error: OSError | None) -> bool:
    """Whether what the system said means that nothing is there."""
    return error is not None and error.errno in _ABSENT


def _barrier(path: Path) -> Path:
    """The first folder on the way that lets this user not through, else the path itself."""
    whole = path.resolve() if os.access(path.parent, os.X_OK) else Path(os.path.abspath(path))
    for folder in reversed(whole.parents):
        if not os.access(folder, os.X_OK, effective_ids=True):
            return folder
    return whole


def _owner(path: Path) -> int:
    return path.stat().st_uid


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
