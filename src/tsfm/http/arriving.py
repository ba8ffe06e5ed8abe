"""Memory for a body while it arrives."""

from __future__ import annotations

from io import BytesIO
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

from tsfm.http.reading import LARGE


class Arriving:
    """Takes a body piece by piece: a large one into memory of the size that its client declares.

    A buffer that grows is copied again and again, 11 ms in all for 32 MiB, in which the interpreter is held. The memory
    is taken when the first part has come: a client that only declares a large body takes none.
    """

    def __init__(self, declared: int = 0) -> None:
        self._declared, self._size = declared, 0
        self._stream: BytesIO | mmap = BytesIO()

    def __len__(self) -> int:
        return self._size

    def append(self, piece: bytes) -> None:
        """Add the next bytes; all together are at most what was declared, or no size was."""
        self._size += len(piece)
        if LARGE < self._size <= self._declared and isinstance(self._stream, BytesIO):
            first, self._stream = self._stream.getbuffer(), _mapped(self._declared)
            self._declared = 0  # it is tried once: where there is no such memory, the other buffer grows
            self._stream.write(first)
        self._stream.write(piece)

    def getfile(self) -> BytesIO | mmap:
        """The body to read, from its beginning."""
        self._stream.seek(0)
        return self._stream

    def close(self) -> None:
        """Drop the body; who has its stream can still read."""
        self._stream, self._size = BytesIO(), 0


def _mapped(size: int) -> BytesIO | mmap:
    try:
        return mmap(-1, size, MAP_PRIVATE | MAP_ANONYMOUS)
    except OSError:  # the limit of the process
        return BytesIO()
