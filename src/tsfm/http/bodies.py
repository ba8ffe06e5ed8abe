"""Large bodies are read and checked by a process of their own, and tables of any size.

While JSON is parsed the interpreter is held: half a second for the largest body, in which no thread could answer
anybody. Another process has an interpreter of its own, and where a body breaks the library that reads it, nothing
else ends. It is started by the first such body, and ends after a while without one.
"""

from __future__ import annotations

import gc
import pickle
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

from tsfm.engine.admission import Slot
from tsfm.engine.pending import Pending
from tsfm.errors import OutOfMemory, RequestError
from tsfm.http.reader_process import ReaderProcess
from tsfm.http.reading import Reading
from tsfm.settings import Settings

# Memory limit of the process: a factor on the largest body, since a short number is four bytes of text and about sixty
# of memory with all that is made of it, and a part for the interpreter itself.
MEMORY_FACTOR, MEMORY_OWN = 24, 256 << 20


class LargeBodies:
    """Reads large bodies one after the other.

    Args:
        limits: called for the first body; the model is loaded by then.
    """

    def __init__(self, limits: Callable[[], Settings]) -> None:
        self._reader = ReaderProcess("large-bodies", "tsfm.http.bodies", limits)

    def read(self, body: bytes | memoryview, slot: Slot, reading: Reading) -> Pending[object]:
        """The checked request in a body.

        Its ``get`` raises ``BadRequest`` or ``TooLarge`` with one sentence that names the field.
        """
        return self._reader.submit(reading, body, slot, reading.grows)

    def close(self) -> None:
        """End the process, whatever it does."""
        self._reader.close()


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
            made = _response(reading, connection.recv_bytes(), settings)
            # The connection's own protocol would copy each array twice where it is read, while the interpreter is held.
            connection.send_bytes(pickle.dumps(made, pickle.HIGHEST_PROTOCOL))
            del made
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
