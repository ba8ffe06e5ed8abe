"""Answers as JSON; a large one piece by piece, since a piece is made without a pause for other threads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tsfm.engine.fields import encode
from tsfm.engine.tasks import Fields

PIECE = 256 << 10  # bytes of one piece of a large answer, about


@dataclass(frozen=True)
class Content:
    """The body of an answer in pieces, and the headers that say what it is."""

    pieces: list[bytes]
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


def whole(fields: Fields) -> Content:
    """The JSON of an answer in one piece."""
    return Content([encode(fields) + b"\n"])


def pieces(fields: Fields) -> Content:
    """The JSON of an answer in pieces, cut between the items of its list ``predictions``."""
    made, part = [], [b'{"predictions":[']
    predictions = fields["predictions"]
    for at, prediction in enumerate(predictions if isinstance(predictions, list) else []):
        part += [b"," if at else b"", encode(prediction)]
        if sum(map(len, part)) >= PIECE:
            made.append(b"".join(part))
            part = []
    rest = encode({name: value for name, value in fields.items() if name != "predictions"})
    part.append(b"]}" if rest == b"{}" else b"]," + rest[1:])
    return Content([*made, b"".join(part) + b"\n"])
