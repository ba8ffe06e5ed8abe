"""Running another program for a limited time, with all that it starts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tsfm.errors import TsfmError


class NotInTime(TsfmError):
    """The program was still running when its time was up; it has been ended."""


@dataclass(frozen=True)
class Deadline:
    """One limit for several waits."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds, never quite 0, so that it can be given to anything as a timeout."""
        return max(self.at - time.monotonic(), 0.05)

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self.at


def run(
    words: Sequence[str], deadline: Deadline, stdin: str = "", env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """(exit status, stdout and stderr together).

    Raises:
        NotInTime: it ran longer than allowed.
        OSError: it cannot be started.
    """
    # A session of its own: children that hold the pipe open end with it.
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=env,
        start_new_session=True,
    )
    with process:
        try:
            said, _ = process.communicate(stdin, timeout=deadline.left)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise NotInTime(f"{words[0]}: no end within the time it was given") from None
    return process.returncode, said
