"""The figure of one plot as shapes in pixels, for a PNG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tsfm.cli.output import digits
from tsfm.cli.output.plot import Layer, Plot

WIDTH, HEIGHT = 900, 340
LEFT, RIGHT, TOP, BOTTOM = 78, 18, 40, 30
TICKS = 5
LETTER = 6.6  # usual width of a letter of the labels
PALE = 0.16  # how much of its colour a band has
INK, GREY, GRID, MARK = "#1f2933", "#616e7c", "#e4e7eb", "#a4262c"

Point = tuple[float, float]
ToPixels = Callable[[float, float], Point]  # from a place on the axis and a value to pixels


@dataclass(frozen=True)
class Line:
    points: Sequence[Point]
    colour: str
    width: float


@dataclass(frozen=True)
class Area:
    points: Sequence[Point]
    colour: str


@dataclass(frozen=True)
class Label:
    """A text whose ``anchor`` (start, middle or end) is at x, with its base line at y."""

    x: float
    y: float
    text: str
    anchor: str = "start"
    colour: str = GREY
    size: int = 12


@dataclass(frozen=True)
class Dot:
    """A point that stands out."""

    x: float
    y: float
    colour: str


Shape = Line | Area | Label | Dot


def shapes(plot: Plot) -> list[Shape]:
    """Grid and labels, the newest history, and over it the lines of each layer with their intervals."""
    xs, history = _history(plot)
    layers = [_numbers(layer, xs[0]) for layer in plot.layers]
    marks = [(x, value) for x, value in plot.marks if x >= xs[0]]
    every = [*history, *(v for layer in layers for _, *values in layer for v in values), *(v for _, v in marks)]
    low, high = _range([v for v in every if math.isfinite(v)])
    last = max([xs[-1], *(layer[-1][0] for layer in layers if layer)])

    def at(x: float, value: float) -> Point:
        # Divided first: the difference of two large numbers may be beyond a double.
        share = (value / 2 - low / 2) / (high / 2 - low / 2)
        across = LEFT + (WIDTH - LEFT - RIGHT) * (x - xs[0]) / ((last - xs[0]) or 1)
        return round(across, 1), round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 1)

    drawn = _grid(low, high, at(xs[0], low)[0], at(last, low)[0], at, xs[0])
    for layer, colour in zip(layers, plot.colours, strict=True):
        band = [at(x, upper) for x, _, _, upper in layer] + [at(x, lower) for x, _, lower, _ in reversed(layer)]
        drawn.append(Area([point for point in band if math.isfinite(point[1])], _pale(colour)))
    drawn += [Line([at(x, v) for x, v in part], INK, 1.5) for part in _parts(xs, history)]
    for one, layer, colour in zip(plot.layers, layers, plot.colours, strict=True):
        first = [(xs[-1], history[-1])] if layer and layer[0][0] > xs[-1] else []  # a forecast joins the history
        line = [*first, *((x, median) for x, median, _, _ in layer)]
        parts = _parts([x for x, _ in line], [v for _, v in line])
        drawn += [Line([at(x, v) for x, v in part], colour, 1.2 if one.dashed else 2.0) for part in parts]
    drawn += [Dot(*at(x, value), MARK) for x, value in marks]
    return [*drawn, *_legend(plot), *_times(plot, xs[0], at)]


def _history(plot: Plot) -> tuple[list[float], list[float]]:
    """Places and values of the history that is shown; NaN is a gap."""
    newest = slice(-plot.shown if plot.shown else None, None)
    return list(plot.xs[newest]), [_number(value) for value in plot.values[newest]]


def _numbers(layer: Layer, first: float) -> list[tuple[float, float, float, float]]:
    """The points of a layer from ``first`` on: (x, median, lower, upper)."""
    rows = zip(layer.xs, layer.median, layer.lower, layer.upper, strict=True)
    return [(x, _number(median), _number(low), _number(high)) for x, median, low, high in rows if x >= first]


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _pale(colour: str) -> str:
    """A colour on white, as one that hides little looks."""
    return "#" + "".join(f"{round(255 - (255 - int(colour[i : i + 2], 16)) * PALE):02x}" for i in (1, 3, 5))


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        return low - max(abs(low), 1) / 2, high + max(abs(high), 1) / 2
    return low, high


def _grid(low: float, high: float, left: float, right: float, at: ToPixels, begin: float) -> list[Shape]:
    """Lines at round values, each with its label."""
    rough = (high / TICKS - low / TICKS) or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next((nice for nice in (1, 2, 5) if power * nice >= rough), 10)
    first = math.ceil(low / step)
    marks = [step * number for number in range(first, first + 2 * TICKS) if step * number <= high]
    form = digits.form(step * 10, max(abs(low), abs(high)))
    found: list[Shape] = []
    for mark in marks:
        y = at(begin, mark)[1]
        found += [Line([(left, y), (right, y)], GRID, 1.0), Label(LEFT - 8, y + 4, format(mark, form), "end")]
    return found


def _parts(xs: Sequence[float], values: Sequence[float]) -> list[list[tuple[float, float]]]:
    """The runs of values between gaps."""
    found: list[list[tuple[float, float]]] = [[]]
    for x, value in zip(xs, values, strict=True):
        if math.isfinite(value):
            found[-1].append((x, value))
        elif found[-1]:
            found.append([])
    return [part for part in found if part]


def _legend(plot: Plot) -> list[Shape]:
    """The series, and from the right end the names of the layers."""
    right = float(WIDTH - RIGHT)
    found: list[Shape] = [Label(LEFT, 24, plot.name, colour=INK, size=15)]
    for text, colour in reversed(
        [("history", INK), *zip([one.name for one in plot.layers], plot.colours, strict=True)]
    ):
        found.append(Label(right, 24, text, "end", colour))
        right -= LETTER * len(text) + 18
    return found


def _times(plot: Plot, first: float, at: ToPixels) -> list[Shape]:
    """The times of the first point and of the last one."""
    base = HEIGHT - 10
    return [Label(LEFT, base, plot.times[0]), Label(WIDTH - RIGHT, base, plot.times[1], "end")]
