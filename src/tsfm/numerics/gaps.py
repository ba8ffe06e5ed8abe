"""Plan the windows of ``size`` points in which a model fills the gaps of a long series.

The rule, for a series longer than the window:

* A gap of at most half a window is filled at once. Gaps that together fit into half a window share one window. The
  window is centred on them, so at least a quarter of the window on either side is context; at an end of the
  series the window is moved inwards.
* A longer gap is filled from its ends inwards, a quarter of a window from each end, with three quarters of a
  window of context before or after it. An end with too few known points beside it is skipped in favour of the other
  end. Filled points count as known in the next round, until the rest is filled at once.
* The first gap of a window begins at the start of a model patch, so that no known point before it is lost. Near the
  ends of the series there may be no room for this alignment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Piece:
    """Missing points from ``start`` up to ``stop``, filled in one model call.

    Attributes:
        gap: start and stop of the whole gap; the next round fills the rest of it.
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
    """Points from ``start`` up to ``stop`` that are the model's input, and the pieces that it fills."""

    start: int
    stop: int
    pieces: tuple[Piece, ...]


def plan(missing: NDArray[np.bool_], size: int, patch: int) -> list[Window]:
    """The windows of one round; empty when no point is missing.

    Args:
        missing: shape (n,), True at missing points; at least one point is known.
        size: points of a window, a multiple of four times ``patch``.
        patch: points of one patch of the model.
    """
    pieces = [piece for start, stop in runs(missing) for piece in _pieces(start, stop, missing, size, patch)]
    if len(missing) <= size:
        return [Window(0, len(missing), tuple(pieces))] if pieces else []
    return [_window(group, len(missing), size, patch) for group in _groups(pieces, size // 2)]


def runs(missing: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and stop of each gap."""
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
    return [piece for beside, piece in ends if _informative(beside, patch)] or [piece for _, piece in ends]


def _informative(missing: NDArray[np.bool_], patch: int) -> bool:
    """Whether at least one whole patch is known, at any position of the patch grid."""
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
