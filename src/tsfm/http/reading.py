"""How the body of a request becomes a checked request, here or in another process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tsfm.engine.fields import decode
from tsfm.engine.tasks import Fields, Steps
from tsfm.errors import TooLarge
from tsfm.http.formats import packed
from tsfm.settings import Settings

# Up to this size a body is read in some milliseconds, which the way to another process and back takes as well.
LARGE = 256 << 10
# Lists and objects in one body. No request needs a hundred; three bytes of text take ninety bytes of memory.
MOST_CONTAINERS = 1_000_000


@dataclass(frozen=True)
class Body:
    """A body as it was received.

    Attributes:
        data: a view of memory for a large one.
        packed: how it is packed, see ``packed.encoding``; "" for not at all.
    """

    data: bytes | memoryview
    packed: str = ""

    def small(self) -> bytes | None:
        """The unpacked body, if it takes next to no time to unpack and to read it."""
        try:
            return packed.unpack(bytes(self.data), self.packed, LARGE) if len(self.data) <= LARGE else None
        except TooLarge:
            return None


def decode_json(body: bytes) -> Fields:
    """The JSON object in a body, with a bound on its lists and objects."""
    if len(body) > MOST_CONTAINERS and _containers(body) > MOST_CONTAINERS:
        raise TooLarge(f"body: expected at most {MOST_CONTAINERS} lists and objects, got more")
    return decode(body)


def _containers(body: bytes) -> int:
    """Lists and objects in a body; ``bytes.count`` takes five times as long, a third of the time of parsing."""
    codes = np.frombuffer(body, np.uint8)
    blocks = (codes[at : at + LARGE] for at in range(0, len(codes), LARGE))
    return sum(int(np.count_nonzero(block | 0x20 == ord("{"))) for block in blocks)  # "[" is "{" without this bit


@dataclass(frozen=True)
class Reading:
    """How a body becomes a checked request. The other process is sent it: its parts are functions of modules, or plain.

    Attributes:
        steps: loads the steps of a task or of one of its operations.
        decode: from an unpacked body to the fields of a request.
        packed: as in ``Body``.
        grows: what is read may be much larger than the body, so that its own size has to count.
    """

    steps: Callable[[], Steps]
    decode: Callable[[bytes], Fields] = decode_json
    packed: str = ""
    grows: bool = False

    def __call__(self, body: bytes, limits: Settings) -> object:
        """The checked request.

        Raises:
            BadRequest, TooLarge
        """
        plain = packed.unpack(body, self.packed, limits.max_body_mib << 20)
        return self.steps().read(self.decode(plain), limits)
