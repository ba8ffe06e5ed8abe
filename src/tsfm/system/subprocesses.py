"""Runs another program, and everything that it starts, for a limited time."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tsfm.errors import TsfmError

PR_SET_PDEATHSIG = 1


class NotInTime(TsfmError):
    """The program was still running after its time limit and was killed."""


@dataclass(frozen=True)
class Deadline:
    """One time limit for several waits."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds left, at least 0.05, so that any function takes it as a timeout."""
        return max(self.at - time.monotonic(), 0.05)

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self.at


def run(
    words: Sequence[str], deadline: Deadline, stdin: str = "", env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """(exit status, stdout and stderr together).

    Raises:
        NotInTime: it ran longer than the deadline allows.
        OSError: it cannot be started.
    """
    # It gets a session of its own, so that children which keep the pipe open can be killed with it.
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
            output, _ = process.communicate(stdin, timeout=deadline.left)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise NotInTime(f"{words[0]}: did not end within its time limit") from None
    return process.returncode, output


def ends_with(parent: int) -> Callable[[], None]:
    """A function for a child to call: the kernel then sends it SIGTERM when the parent ends in any way.

    Args:
        parent: the parent's process.
    """
    libc = ctypes.CDLL(None)

    def set_death_signal() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before the call
            os._exit(1)

    return set_death_signal
