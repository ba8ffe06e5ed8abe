"""Which windows of a long series a model that sees ``size`` points has to look through to fill its gaps.

The rule, for a series longer than the window:

* A gap of at most half a window is filled at once, gaps that lie together within half a window in one go. Their
  window is centred on them, so at least a quarter of it on either side is there to judge by; at an end of the
  series it is moved inwards.
* A longer gap is filled from its ends inwards, a quarter of a window from each end that touches known points,
  with three quarters of a window before or behind it. What is filled counts as known in the next round, until
  the rest is filled at once.
* The first gap of a window begins where a patch of the model does, so no known point before it is lost; only near
  the ends of the series there may be no room for that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Piece:
    """Missing points from ``start`` up to ``stop``, to be filled in one go.

    Attributes:
        more_before, more_behind: the gap goes on there, and is left for the next round.
    """

    start: int
    stop: int
    more_before: bool = False
    more_behind: bool = False


@dataclass(frozen=True)
class Window:
    """Points from ``start`` up to ``stop`` that the model sees, and the pieces that it fills."""

    start: int
    stop: int
    pieces: tuple[Piece, ...]


def plan(missing: NDArray[np.bool_], size: int, patch: int) -> list[Window]:
    """One round of windows; empty when nothing is missing.

    Args:
        missing: shape (n,), not all of it true.
        size: points of a window, a multiple of four times ``patch``.
        patch: points of the model's grid.
    """
    pieces = [piece for start, stop in runs(missing) for piece in _pieces(start, stop, len(missing), size)]
    if len(missing) <= size:
        return [Window(0, len(missing), tuple(pieces))] if pieces else []
    return [_window(group, len(missing), size, patch) for group in _groups(pieces, size // 2)]


def runs(missing: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Where each gap starts and stops."""
    edges = np.flatnonzero(np.diff(missing.astype(np.int8), prepend=0, append=0))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _pieces(start: int, stop: int, points: int, size: int) -> list[Piece]:
    if points <= size or stop - start <= size // 2:
        return [Piece(start, stop)]
    first = Piece(start, start + size // 4, more_behind=True)
    last = Piece(stop - size // 4, stop, more_before=True)
    return [first] * (start > 0) + [last] * (stop < points)


def _groups(pieces: list[Piece], reach: int) -> list[list[Piece]]:
    groups: list[list[Piece]] = []
    for piece in pieces:
        if groups and piece.stop - groups[-1][0].start <= reach:
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return groups


def _window(group: list[Piece], points: int, size: int, patch: int) -> Window:
    first, last = group[0], group[-1]
    start = (first.start + last.stop - size) // 2
    if last.more_behind and not first.more_before:
        start = last.stop - size
    elif first.more_before and not last.more_behind:
        start = first.start
    lowest, highest = max(0, last.stop - size), min(points - size, first.start)
    start = min(max(start, lowest), highest)
    aligned = start - (start - first.start) % patch
    if aligned < lowest:
        aligned += patch
    if aligned <= highest:
        start = aligned
    return Window(start, start + size, tuple(group))
