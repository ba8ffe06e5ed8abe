"""Parameters of a query, each of them at most once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tsfm.errors import BadRequest

Query = Mapping[str, Sequence[str]]


def single(query: Query, known: Sequence[str]) -> dict[str, str]:
    """The value of each parameter.

    Raises:
        BadRequest: one is unknown, or comes twice.
    """
    for name, values in query.items():
        if name not in known:
            raise BadRequest(f"{name[:40]!r}: unknown parameter; known are {', '.join(known)}")
        if len(values) > 1:
            raise BadRequest(f"{name}: expected once, got {len(values)} times")
    return {name: values[0] for name, values in query.items()}
