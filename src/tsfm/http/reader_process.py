"""A process beside the service that does one kind of work on bytes, so that this interpreter is not held meanwhile.

It is started by the first request, and ends after a while without one.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from queue import Empty, SimpleQueue
from typing import cast

from tsfm.engine.admission import Slot
from tsfm.engine.pending import Pending, finish, give_up
from tsfm.engine.work import unchanged
from tsfm.errors import BadRequest, DeadlinePassed, OutOfMemory, RequestError

IDLE_S = 30.0
# How a process ends when a library in it does what it must not.
CRASHES = tuple(-number for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE))


@dataclass(eq=False)
class Unread:
    """A body that waits to be read.

    Attributes:
        how: what the process is sent before the body.
        grows: what is made of it may be much larger than the body, so that its own size has to count.
        future: of what the process makes of it.
    """

    how: object
    body: bytes | memoryview
    slot: Slot
    grows: bool
    future: Future[object]


class ReaderProcess:
    """Has bodies read one after the other.

    Args:
        name: of the thread.
        module: what the process runs, with the number of its end of a connection as the only argument. It receives the
            greeting first, then for each body an object that says how to read it and the body, and sends an object or a
            ``RequestError``.
        greeting: called when a process is started.
        python: the interpreter, called when a process is started, and where it finds tsfm.
    """

    def __init__(
        self,
        name: str,
        module: str,
        greeting: Callable[[], object],
        python: Callable[[], tuple[str, str]] = lambda: (sys.executable, os.pathsep.join(filter(None, sys.path))),
    ) -> None:
        self._module, self._greeting, self._python = module, greeting, python
        self._unread: SimpleQueue[Unread] = SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        threading.Thread(target=self._loop, name=name, daemon=True).start()

    def submit(self, how: object, body: bytes | memoryview, slot: Slot, grows: bool = False) -> Pending[object]:
        """What the process makes of a body; ``get`` raises the ``RequestError`` that it sends."""
        future: Future[object] = Future()
        self._unread.put(Unread(how, body, slot, grows, slot.watch(future)))
        return Pending(future, unchanged)

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._process:
            self._process.kill()

    def _loop(self) -> None:
        while True:
            try:
                unread = self._unread.get(timeout=IDLE_S if self._process else None)
            except Empty:
                self._end()
                continue
            self._handle(unread)
            del unread  # its body with it

    def _handle(self, unread: Unread) -> None:
        if not unread.slot.present():
            unread.future.cancel()
        if unread.future.done():
            return
        try:
            request = self._request(unread)
        except Exception as error:  # noqa: BLE001  whatever it is, the request is answered with it
            # Its frames hold the body, and through the future themselves.
            give_up(unread.future, error.with_traceback(None))
        else:
            finish(unread.future, request)

    def _request(self, unread: Unread) -> object:
        if self._process and self._process.poll() is not None:
            self._end()  # it was killed while it had nothing to do
        try:
            connection = self._connection or self._begin()
            connection.send(unread.how)
            connection.send_bytes(unread.body)
            unread.body = b""
            if not connection.poll(max(0.0, unread.slot.deadline - time.monotonic())):
                self._end()
                raise DeadlinePassed("the body was not read within the deadline")
            response = connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._why_ended(unread.grows) from error
        if unread.grows:
            unread.slot.grow(len(response))
        response = ForkingPickler.loads(response)
        if isinstance(response, RequestError):
            raise response
        return cast(object, response)

    def _begin(self) -> Connection:
        ours, theirs = socket.socketpair()
        python, path = self._python()  # the installed command has set up sys.path itself
        with theirs:
            self._process = subprocess.Popen(
                [python, "-B", "-m", self._module, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # Unused threads for arithmetic would count as its memory.
                env=os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        self._connection = Connection(ours.detach())
        self._connection.send(self._greeting())
        return self._connection

    def _end(self) -> None:
        if self._connection:
            self._connection.close()
        process, self._process, self._connection = self._process, None, None
        if process:
            process.kill()
            process.wait()

    def _why_ended(self, grows: bool) -> RequestError:
        code = None
        with suppress(subprocess.TimeoutExpired):  # it has closed the connection, so it is about to end
            code = self._process.wait(1) if self._process else None
        self._end()
        if code == -signal.SIGKILL:
            return OutOfMemory("the host has not enough memory to read so large a body")
        if code in CRASHES and grows:
            return BadRequest("body: expected well-formed content, got some that broke the library that reads it")
        return RequestError("reading the body failed; the journal says why")
