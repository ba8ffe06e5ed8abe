"""Fill the gaps of series of any length with a model that reconstructs one window at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tsfm.errors import ModelFailed
from tsfm.numerics import scaling
from tsfm.numerics.gaps import Window, plan
from tsfm.series import FloatArray

MOST_POINTS = 1 << 20  # no practical limit of a series: only windows around gaps are computed
TOGETHER = 16  # windows in one call: more are no faster on a CPU and take memory
Reconstruct = Callable[[Sequence[FloatArray]], Sequence[FloatArray]]
"""From windows, each shape (n,) with NaN where a point is missing, to all of their points."""
Pieces = list[tuple[int, FloatArray]]


def fill(
    targets: Sequence[FloatArray], reconstruct: Reconstruct, size: int, patch: int, together: int = TOGETHER
) -> list[FloatArray]:
    """Fill rounds of windows until nothing is missing: each round fills at least one whole piece of every view.

    A window in which every patch has a missing point tells the model nothing; its gaps are interpolated.

    Args:
        targets: each shape (n,), NaN where a point is missing.
        reconstruct: takes windows of at most ``size`` points, at most ``together`` in a call.
        patch: points that the model sees as one; it masks a patch with any missing point.

    Raises:
        ModelFailed: the model gives values that are not numbers.
    """
    filled: list[FloatArray] = [np.array(target, np.float32) for target in targets]
    while views := [_View(target, window) for target in filled for window in plan(np.isnan(target), size, patch)]:
        for view, pieces in zip(views, _look(views, reconstruct, patch, together), strict=True):
            for start, values in pieces:
                view.target[start : start + len(values)] = values
    return filled


def _look(views: Sequence[_View], reconstruct: Reconstruct, patch: int, together: int) -> list[Pieces]:
    """Values for each view's missing points: from the model, or interpolated if the view has no whole patch."""
    shows = [view.shows_a_patch(patch) for view in views]
    seeing = [view for view, something in zip(views, shows, strict=True) if something]
    answers = _reconstructed(seeing, reconstruct, together)
    looks = [
        view.cut(next(answers)) if something else view.line() for view, something in zip(views, shows, strict=True)
    ]
    # NaN would count as missing again in the next round, and the loop would never end.
    if not all(np.isfinite(values).all() for pieces in looks for _, values in pieces):
        raise ModelFailed("the model's answer holds values that are not numbers")
    return looks


def _reconstructed(seeing: Sequence[_View], reconstruct: Reconstruct, together: int) -> Iterator[FloatArray]:
    for at in range(0, len(seeing), together):
        yield from reconstruct([view.points for view in seeing[at : at + together]])


@dataclass(frozen=True)
class _View:
    """A window on a series that is being filled."""

    target: FloatArray
    window: Window

    @property
    def points(self) -> FloatArray:
        """Shape (points of the window,), NaN at points that are still missing."""
        return self.target[self.window.start : self.window.stop]

    def shows_a_patch(self, patch: int) -> bool:
        """Whether a patch is known as a whole; patches are counted from the window's end."""
        points = self.points[len(self.points) % patch :]
        return bool((~np.isnan(points)).reshape(-1, patch).all(axis=1).any())

    def cut(self, values: FloatArray) -> Pieces:
        """The window's pieces, cut from ``values`` for all of its points."""
        first = self.window.start
        return [(piece.start, values[piece.start - first : piece.stop - first]) for piece in self.window.pieces]

    def line(self) -> Pieces:
        """The whole gaps that the pieces belong to, interpolated."""
        line = scaling.fill(self.target)
        return [(piece.gap[0], line[slice(*piece.gap)]) for piece in self.window.pieces]
