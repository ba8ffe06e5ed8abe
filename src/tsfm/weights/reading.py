"""Read files. An unreadable file is reported as unreadable, with user and remedy, and never as damaged."""

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
        what: what the file was expected to be, for the error sentence.

    Raises:
        ConfigError: absent, or not readable by this user.
        TsfmError: the disk or the network behind it failed.
    """
    try:
        with open_regular(path) as stream:
            return stream.read()
    except OSError as error:
        raise refused(path, error, what) from None


def refused(path: Path, error: OSError, what: str) -> TsfmError:
    """The error to raise for a file or folder at ``path`` whose reading the system refused."""
    if error.errno in _ABSENT:
        return ConfigError(f"{path}: expected {what}, found no such file")
    if error.errno == errno.EISDIR:
        return ConfigError(f"{path}: expected {what}, found a folder")
    if error.errno == errno.EINVAL:
        return ConfigError(f"{path}: expected {what}, found something that is not a regular file")
    sentence, remedy = explain(path, error)
    return (ConfigError if error.errno in _DENIED else TsfmError)(f"{path}: {sentence}; {remedy}")


def explain(path: Path, error: OSError) -> tuple[str, str]:
    """Why ``path`` cannot be read, and what to do."""
    reason = error.strerror or str(error)
    if error.errno == errno.EINVAL:
        return "is not a regular file", "replace it by the file itself"
    if error.errno not in _DENIED:
        return f"cannot be read: {reason}", (
            "the disk or the network file system behind it failed: see `journalctl -k`; the file may be intact"
        )
    obstacle = _obstacle(path)
    owner = _name(_owner(obstacle))
    return (
        f"cannot be read: {reason} for user {_name(os.geteuid())}",
        f"the file may be intact: as {'root' if owner == 'root' else f'{owner} or root'}, "
        f"run: chmod a+r{'X' if obstacle.is_dir() else ''} {obstacle}, or chown it",
    )


def access_error(path: Path) -> OSError | None:
    """The system's error on opening the file or folder and reading its first byte; None: it is readable."""
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY))
        else:
            with open_regular(path) as stream:
                stream.read(1)
    except OSError as error:
        return error
    return None


def system_error(error: Exception) -> OSError | None:
    """The system's error inside an exception of a format library; None: reading worked and the content is wrong.

    Some libraries give the number only in the text, "(os error 5)"; EINVAL means a mapping beyond the file's end.
    """
    match = re.search(r"os error (\d+)", str(error))
    number = error.errno if isinstance(error, OSError) and error.errno else int(match.group(1)) if match else 0
    return OSError(number, os.strerror(number)) if number not in (0, errno.EINVAL) else None


def may_exist(path: Path) -> bool:
    """Whether the path exists or may exist: a path that cannot be examined does not count as missing."""
    try:
        path.stat()
    except OSError as error:
        return not absent(error)
    return True


def absent(error: OSError | None) -> bool:
    """Whether the system's error means that the path does not exist."""
    return error is not None and error.errno in _ABSENT


def _obstacle(path: Path) -> Path:
    """The first folder on the path that this user may not enter, else the path itself."""
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
