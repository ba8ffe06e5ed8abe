"""Continues the same command in another Python environment, at most once for each environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tsfm import paths
from tsfm.errors import ConfigError

MARK = "TSFM_ENTERED"
"""The environment variable that names the interpreter to which a process was handed over."""


def enter(python: Path, words: Sequence[str]) -> None:
    """Continue as ``python -m tsfm WORDS``; return at once if this process already runs in that environment.

    Args:
        python: the environment's own ``bin/python``.
        words: the command's arguments, as ``tsfm`` takes them.

    Raises:
        ConfigError: the process was handed over once, but still runs in another environment.
    """
    entered = os.environ.pop(MARK, None)
    home = python.parent.parent
    if os.path.samefile(sys.prefix, home):
        return
    if entered == str(python):
        raise ConfigError(
            f"{python} does not run in its own environment {home}, but in {sys.prefix}: "
            "reinstall the package that brought it"
        )
    # PYTHONSAFEPATH: do not import a folder named tsfm in the current directory.
    ours = {"PYTHONPATH": str(paths.LIB), "PYTHONSAFEPATH": "1", MARK: str(python)}
    try:
        os.execve(python, [str(python), "-B", "-m", "tsfm", *words], os.environ | ours)  # noqa: S606
    except OSError as error:
        raise ConfigError(
            f"{python} cannot be started: {error.strerror}; reinstall the package that brought it"
        ) from None
