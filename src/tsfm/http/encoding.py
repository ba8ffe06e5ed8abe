"""Answers as JSON; a large one piece by piece, since a piece is made without a pause for other threads."""

from __future__ import annotations

from tsfm.engine.fields import encode
from tsfm.engine.tasks import Fields

PIECE = 256 << 10  # bytes of one piece of a large answer, about


def pieces(fields: Fields) -> list[bytes]:
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
    return [*made, b"".join(part) + b"\n"]
