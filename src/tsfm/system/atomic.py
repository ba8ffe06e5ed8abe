"""Replaces a settings file in one step, so that nobody ever reads half of it."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tsfm.errors import ConfigError

MODE = 0o644  # of a new file


def write(file: Path, text: str) -> None:
    """Put a text in the place of a file; owner and mode stay, and a link stays a link.

    Raises:
        ConfigError: it cannot be written.
    """
    file = file.resolve()
    with beside(file, text) as new:
        os.replace(new, file)


@contextmanager
def beside(file: Path, text: str) -> Iterator[Path]:
    """A complete file in the same folder, with the owner and mode of ``file``; removed unless it has been renamed.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}; run this as root") from None
    new = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            _like(stream.fileno(), file)
            stream.flush()
            os.fsync(stream.fileno())
        yield new
    finally:
        new.unlink(missing_ok=True)


def _like(descriptor: int, file: Path) -> None:
    try:
        old = file.stat()
    except FileNotFoundError:
        os.fchmod(descriptor, MODE)
        return
    if os.geteuid() == 0:
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
