"""The end of a process under another server: first it says that it is not ready, then its server closes anything."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from tsfm.engine.engine import Engine
from tsfm.http import lifecycle

Handler = Callable[[int, FrameType | None], Any]


class Ending:
    """Takes SIGTERM and SIGINT before the server does, and passes the first one on when no request is inside.

    A server that gets the signal closes its socket at once. Until then a balancer can read at /readyz, and a client
    in its answer, that the host stops. A second signal is passed on at once.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._servers: dict[int, Handler] = {}
        self._write_end: int | None = None
        self._came = self._passed = False

    def begin(self) -> None:
        """Go before the server's handlers, if this is the main thread; no other one can have any."""
        if threading.current_thread() is not threading.main_thread():
            return
        read_end, self._write_end = os.pipe()
        threading.Thread(target=self._wait, args=[read_end], name="ending", daemon=True).start()
        for number in (signal.SIGTERM, signal.SIGINT):
            handler = signal.getsignal(number)
            if callable(handler):
                self._servers[number] = handler
                signal.signal(number, self._signalled)

    def end(self) -> None:
        """Give the signals back to the server."""
        for number, handler in self._servers.items():
            signal.signal(number, handler)
        if self._write_end is not None:
            os.close(self._write_end)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        """Takes no lock, because the interrupted code may hold it."""
        self._engine.stop_accepting()
        if self._came:
            self._passed = True
            self._servers[number](number, frame)
        elif self._write_end is not None:
            self._came = True
            os.write(self._write_end, bytes([number]))

    def _wait(self, read_end: int) -> None:
        number = os.read(read_end, 1)  # nothing: the server has ended without a signal
        os.close(read_end)
        if number:
            self._engine.wait_until_empty(lifecycle.DRAIN_S)
            if not self._passed:
                os.kill(os.getpid(), number[0])
