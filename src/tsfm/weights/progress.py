"""Progress of a long copy: a bar on a terminal, otherwise a line for every 10 %; also systemd's status."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tsfm.system import systemd
from tsfm.weights.staging import megabytes

_WIDTH = 30


class Progress:
    """Writes to stderr how many of ``total`` bytes are copied; ``begin`` bytes existed before."""

    def __init__(self, what: str, total: int, begin: int = 0) -> None:
        self._what = what
        self._total = max(total, 1)
        self._begin = begin
        self._began = time.monotonic()
        self._reported = min(begin, total) * 10 // self._total
        self._drawn = False
        self._done = begin
        systemd.notify(f"STATUS={what}: {self._text()}")

    def add(self, count: int) -> None:
        self.at(self._done + count)

    def at(self, done: int) -> None:
        """Report that ``done`` bytes are copied."""
        self._done = min(done, self._total)
        if sys.stderr.isatty():
            filled = self._done * _WIDTH // self._total
            bar = "#" * filled + "." * (_WIDTH - filled)
            print(f"\r{self._what} [{bar}] {self._text()}\033[K", end="", file=sys.stderr, flush=True)
            self._drawn = True
        elif self._done * 10 // self._total > self._reported:
            print(f"{self._what}: {self._text()}", file=sys.stderr, flush=True)
        else:
            return
        self._reported = self._done * 10 // self._total
        systemd.notify(f"STATUS={self._what}: {self._text()}")

    def close(self) -> None:
        if self._drawn:
            print(file=sys.stderr, flush=True)

    def _text(self) -> str:
        rate = (self._done - self._begin) / max(time.monotonic() - self._began, 1e-3)
        return f"{self._done * 100 // self._total} % of {megabytes(self._total)}, {megabytes(int(rate))}/s"


@contextmanager
def showing(what: str, total: int, begin: int = 0) -> Iterator[Progress]:
    """A progress display; the caller reports bytes with ``add``."""
    progress = Progress(what, total, begin)
    try:
        yield progress
    finally:
        progress.close()
