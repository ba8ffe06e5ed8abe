"""A series and what a model says about it, as the page's chart and a PNG draw it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tsfm.cli.source import clock
from tsfm.cli.source.series import Series

# Of the layers, in their order: those of the page (COLORS of http/page/static/chart.js).
COLOURS = ("#1d4f91", "#a8500b", "#0b716b", "#7b3ca3", "#a4262c", "#5d6d00")
Numbers = Sequence[float | None]


@dataclass(frozen=True)
class Layer:
    """A line with its interval, for instance a forecast.

    Attributes:
        xs: where its points are on the axis; the other lists are as long.
        dashed: for values of the past, which are drawn over the history.
    """

    name: str
    xs: Sequence[float]
    median: Numbers
    lower: Numbers
    upper: Numbers
    dashed: bool = False


@dataclass(frozen=True)
class Table:
    """Numbers below a plot.

    Attributes:
        names: of the columns; a key of the page's words, if it has one, else the text itself.
    """

    names: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Plot:
    """One series.

    Attributes:
        xs: of the values: seconds since 1970 UTC if ``timed``, else numbers of rows from 1.
        times: what is written for the first value and for the last one of the axis.
        shown: how many of the newest values are seen at first; 0: all.
        marks: (x, value) of points that stand out.
    """

    name: str
    caption: str
    xs: Sequence[float]
    timed: bool
    values: Numbers
    times: tuple[str, str]
    layers: Sequence[Layer]
    table: Table
    shown: int = 0
    marks: Sequence[tuple[float, float]] = field(default=())

    @property
    def colours(self) -> list[str]:
        """The colour of each layer."""
        return [COLOURS[at % len(COLOURS)] for at in range(len(self.layers))]


@dataclass(frozen=True)
class Axis:
    """Where the values of a series are, and the steps after them."""

    xs: list[float]
    ahead: list[float]
    timed: bool


def axis(series: Series, steps: int = 0) -> Axis:
    """The axis of a series: its times, or the numbers of its rows if the times are not known or not in order."""
    instants, rows = series.column.instants, len(series.column.values)
    if instants is None or rows < 2 or not (np.diff(instants) > 0).all():
        return Axis([float(row) for row in range(1, rows + 1)], [float(rows + k) for k in range(1, steps + 1)], False)
    seconds = instants / 1e9
    following = clock.seconds(series.ahead[:steps])
    if not following:  # they have no common step, or are numbers
        usual = float(np.median(np.diff(seconds)))
        following = [float(seconds[-1]) + usual * k for k in range(1, steps + 1)]
    return Axis(seconds.tolist(), following, True)
