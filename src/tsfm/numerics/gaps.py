"""Which windows of a long series a model that sees ``size`` points has to look through to fill its gaps.

The rule, for a series longer than the window:

* A gap of at most half a window is filled at once, gaps that lie together within half a window in one go. Their
  window is centred on them, so at least a quarter of it on either side is there to judge by; at an end of the
  series it is moved inwards.
* A longer gap is filled from its ends inwards, a quarter of a window from each end, with three quarters of a
  window before or behind it. An end with hardly any known points beside it is left to the other one. What is
  filled counts as known in the next round, until the rest is filled at once.
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
        gap: where the whole gap starts and stops, of which the rest is left for the next round.
    """

    start: int
    stop: int
    gap: tuple[int, int]

    @property
    def more_before(self) -> bool:
        return self.gap[0] < self.start

    @property
    def more_behind(self) -> bool:
        return self.stop < self.gap[1]


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
    pieces = [piece for start, stop in runs(missing) for piece in _pieces(start, stop, missing, size, patch)]
    if len(missing) <= size:
        return [Window(0, len(missing), tuple(pieces))] if pieces else []
    return [_window(group, len(missing), size, patch) for group in _groups(pieces, size // 2)]


def runs(missing: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Where each gap starts and stops."""
    edges = np.flatnonzero(np.diff(missing.astype(np.int8), prepend=0, append=0))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _pieces(start: int, stop: int, missing: NDArray[np.bool_], size: int, patch: int) -> list[Piece]:
    if len(missing) <= size or stop - start <= size // 2:
        return [Piece(start, stop, (start, stop))]
    reach = size - size // 4
    ends = []
    if start > 0:
        before = missing[max(0, start - reach) : start]
        ends.append((before, Piece(start, start + size // 4, (start, stop))))
    if stop < len(missing):
        behind = missing[stop : stop + reach]
        ends.append((behind, Piece(stop - size // 4, stop, (start, stop))))
    return [piece for beside, piece in ends if _tells(beside, patch)] or [piece for _, piece in ends]


def _tells(missing: NDArray[np.bool_], patch: int) -> bool:
    """Whether a whole patch is known, wherever the model's patches begin."""
    return any(stop - start >= 2 * patch - 1 for start, stop in runs(~missing))


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
    if aligned >= lowest and not first.more_before:
        start = aligned
    return Window(start, start + size, tuple(group))
