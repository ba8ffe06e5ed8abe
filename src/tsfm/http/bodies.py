"""Large bodies are read and checked by a process of their own, and tables of any size.

While JSON is parsed the interpreter is held: half a second for the largest body, in which no thread could answer
anybody. Another process has an interpreter of its own, and where a body breaks the library that reads it, nothing
else ends. It is started by the first such body, and ends after a while without one.
"""

from __future__ import annotations

import gc
import os
import resource
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
from tsfm.http.reading import Reading
from tsfm.settings import Settings

IDLE_S = 30.0
# Memory limit of the process: a factor on the largest body, since a short number is four bytes of text and about sixty
# of memory with all that is made of it, and a part for the interpreter itself.
MEMORY_FACTOR, MEMORY_OWN = 24, 256 << 20
# How a process ends when a library in it does what it must not.
CRASHES = tuple(-number for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE))


@dataclass(eq=False)
class Unread:
    """A large body that waits to be read.

    Attributes:
        future: of the checked request.
    """

    body: bytes
    slot: Slot
    reading: Reading
    future: Future[object]


class LargeBodies:
    """Reads large bodies one after the other.

    Args:
        limits: called for the first body; the model is loaded by then.
    """

    def __init__(self, limits: Callable[[], Settings]) -> None:
        self._limits = limits
        self._unread: SimpleQueue[Unread] = SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        threading.Thread(target=self._loop, name="large-bodies", daemon=True).start()

    def read(self, body: bytes, slot: Slot, reading: Reading) -> Pending[object]:
        """The checked request in a body.

        Its ``get`` raises ``BadRequest`` or ``TooLarge`` with one sentence that names the field.
        """
        future: Future[object] = Future()
        self._unread.put(Unread(body, slot, reading, slot.watch(future)))
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
            connection.send(unread.reading)
            connection.send_bytes(unread.body)
            unread.body = b""
            if not connection.poll(max(0.0, unread.slot.deadline - time.monotonic())):
                self._end()
                raise DeadlinePassed("the body was not read within the deadline")
            response = connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._why_ended(unread.reading) from error
        if unread.reading.grows:
            unread.slot.grow(len(response))
        response = ForkingPickler.loads(response)
        if isinstance(response, RequestError):
            raise response
        return cast(object, response)

    def _begin(self) -> Connection:
        ours, theirs = socket.socketpair()
        path = os.pathsep.join(filter(None, sys.path))  # the installed command has set it up itself
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-B", "-m", "tsfm.http.bodies", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # Unused threads for arithmetic would count as its memory.
                env=os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        self._connection = Connection(ours.detach())
        self._connection.send(self._limits())
        return self._connection

    def _end(self) -> None:
        if self._connection:
            self._connection.close()
        process, self._process, self._connection = self._process, None, None
        if process:
            process.kill()
            process.wait()

    def _why_ended(self, reading: Reading) -> RequestError:
        code = None
        with suppress(subprocess.TimeoutExpired):  # it has closed the connection, so it is about to end
            code = self._process.wait(1) if self._process else None
        self._end()
        if code == -signal.SIGKILL:
            return OutOfMemory("the host has not enough memory to read so large a body")
        if code in CRASHES and reading.grows:
            return BadRequest("body: expected well-formed content, got some that broke the library that reads it")
        return RequestError("reading the body failed; the journal says why")


def main(file: int) -> None:
    """The process: receives bodies and sends checked requests or errors, until the parent closes the connection."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # systemd signals all processes of a unit; the parent decides
    gc.disable()  # JSON has no cycles; millions of small lists would be scanned again and again
    connection = Connection(file)
    try:
        settings = connection.recv()
        most = MEMORY_OWN + MEMORY_FACTOR * (settings.max_body_mib << 20)
        with suppress(PermissionError):  # in the sandbox of systemd before 248; MemoryMax= still bounds it
            resource.prlimit(0, resource.RLIMIT_DATA, (most, most))
        while True:
            reading = connection.recv()
            connection.send(_response(reading, connection.recv_bytes(), settings))
    except (EOFError, ConnectionError):
        return


def _response(reading: Reading, body: bytes, settings: Settings) -> object:
    """The checked request, or the error that refuses it."""
    try:
        return reading(body, settings)
    except RequestError as error:
        return error
    except (MemoryError, SystemError):  # orjson raises SystemError when memory is out
        return OutOfMemory("body: reading it takes more memory than a body of its size may need")


if __name__ == "__main__":
    main(int(sys.argv[1]))
