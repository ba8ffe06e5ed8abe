"""Reads tables for the HTTP service: ``python -m tsfm.table FILE_NUMBER``, with pandas, in a process of its own.

It receives from a connection the arguments of ``view``, then the file's content, and sends the fields of the answer, or
the error.
"""

from __future__ import annotations

import gc
import resource
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from tsfm.errors import BadRequest, OutOfMemory, RequestError, UsageError
from tsfm.table.column import Options
from tsfm.table.view import Fields, view

# A cell of some bytes takes sixty as an object of its own; pandas itself takes about 100 MiB.
MEMORY = 1536 << 20


def main(file: int, memory: int = MEMORY) -> None:
    """Answer bodies until the parent closes the connection."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # systemd signals all processes of a unit; the parent decides
    connection = Connection(file)
    with suppress(PermissionError):  # in the sandbox of systemd before 248; MemoryMax= still bounds it
        resource.prlimit(0, resource.RLIMIT_DATA, (memory, memory))
    try:
        connection.recv()  # the greeting, which says nothing
        while True:
            request = connection.recv()
            connection.send(_answer(request, connection.recv_bytes()))
            gc.collect()
    except (EOFError, ConnectionError):
        return


def _answer(request: dict[str, Any], data: bytes) -> Fields | RequestError:
    try:
        return view(request["file"], data, Options(**request["options"]), request["number"], request["most"])
    except UsageError as error:
        return BadRequest(str(error))
    except MemoryError:
        return OutOfMemory("body: reading the table takes more memory than a file of its size may need")


if __name__ == "__main__":
    main(int(sys.argv[1]))
