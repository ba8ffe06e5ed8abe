"""Going on as the same command in another Python environment, at most once for each environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tsfm import paths
from tsfm.errors import ConfigError

MARK = "TSFM_ENTERED"
"""In the environment of a process that was just handed over: the interpreter it was handed to."""


def enter(python: Path, words: Sequence[str]) -> None:
    """Go on as ``python -m tsfm WORDS``; return at once where this process runs in that environment already.

    Args:
        python: the environment's own ``bin/python``.
        words: the command's arguments, as ``tsfm`` takes them.

    Raises:
        ConfigError: the process was handed over already, yet this is another environment.
    """
    came = os.environ.pop(MARK, None)
    home = python.parent.parent
    if os.path.samefile(sys.prefix, home):
        return
    if came == str(python):
        raise ConfigError(
            f"{python} does not run in its own environment {home}, but in {sys.prefix}: "
            "reinstall the package that brought it"
        )
    # PYTHONSAFEPATH: a folder named tsfm where the command was typed is not ours.
    ours = {"PYTHONPATH": str(paths.LIB), "PYTHONSAFEPATH": "1", MARK: str(python)}
    try:
        os.execve(python, [str(python), "-B", "-m", "tsfm", *words], os.environ | ours)  # noqa: S606
    except OSError as error:
        raise ConfigError(
            f"{python} cannot be started: {error.strerror}; reinstall the package that brought it"
        ) from None
