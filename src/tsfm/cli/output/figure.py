"""The figure of one forecast as shapes in pixels: what the SVG of a page and a PNG have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tsfm.cli.output import digits
from tsfm.cli.output.terminal import history_of
from tsfm.cli.prediction import Prediction

WIDTH, HEIGHT = 900, 340
LEFT, RIGHT, TOP, BOTTOM = 78, 18, 40, 30
TICKS = 5
SHOWN_PER_STEP, LEAST_SHOWN = 6, 48  # points of history beside a horizon
INK, GREY, GRID, BLUE, BAND = "#1f2933", "#616e7c", "#e4e7eb", "#1565c0", "#cfe2f7"

Point = tuple[float, float]
Place = Callable[[float, float], Point]  # from a step and a value to pixels


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


Shape = Line | Area | Label


def shapes(found: Prediction) -> list[Shape]:
    """Grid and labels, the band between the outermost quantiles, the newest history and the median."""
    history = history_of(found)
    shown = history[-max(SHOWN_PER_STEP * len(found.mean), LEAST_SHOWN) :]
    values = [v for v in (*shown, *found.median, *found.lower, *found.upper) if math.isfinite(v)]
    low, high = _range(values)
    last = len(shown) + len(found.mean) - 1

    def at(step: float, value: float) -> Point:
        # Divided first: the difference of two large numbers may be beyond a double.
        share = (value / 2 - low / 2) / (high / 2 - low / 2)
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / max(last, 1)
        return round(x, 1), round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 1)

    ahead = range(len(shown), last + 1)
    band = [at(x, v) for x, v in zip(ahead, found.upper, strict=True)]
    band += [at(x, v) for x, v in zip(reversed(ahead), reversed(found.lower), strict=True)]
    median = [at(x, v) for x, v in zip(ahead, found.median, strict=True)]
    join = [at(len(shown) - 1, shown[-1])] if math.isfinite(shown[-1]) else []
    drawn: list[Shape] = [*_grid(low, high, at(0, low)[0], at(last, low)[0], at), Area(band, BAND)]
    drawn += [Line([at(x, v) for x, v in part], INK, 1.5) for part in _parts(shown)]
    drawn += [Line([*join, *median], BLUE, 2.0), *_legend(found), *_times(found, len(shown), at)]
    return drawn


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        return low - max(abs(low), 1) / 2, high + max(abs(high), 1) / 2
    return low, high


def _grid(low: float, high: float, left: float, right: float, at: Place) -> list[Shape]:
    """Lines at round values, each with its label."""
    rough = (high / TICKS - low / TICKS) or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next((nice for nice in (1, 2, 5) if power * nice >= rough), 10)
    first = math.ceil(low / step)
    marks = [step * number for number in range(first, first + 2 * TICKS) if step * number <= high]
    form = digits.form(step * 10, max(abs(low), abs(high)))
    found: list[Shape] = []
    for mark in marks:
        y = at(0, mark)[1]
        found += [Line([(left, y), (right, y)], GRID, 1.0), Label(LEFT - 8, y + 4, format(mark, form), "end")]
    return found


def _parts(values: Sequence[float]) -> list[list[tuple[int, float]]]:
    """The runs of values between gaps."""
    found: list[list[tuple[int, float]]] = [[]]
    for number, value in enumerate(values):
        if math.isfinite(value):
            found[-1].append((number, value))
        elif found[-1]:
            found.append([])
    return [part for part in found if part]


def _legend(found: Prediction) -> list[Shape]:
    outer = max(found.quantiles) - min(found.quantiles)
    return [
        Label(LEFT, 24, found.series.item_id, colour=INK, size=15),
        Label(WIDTH - RIGHT - 200, 24, "history", "end", INK),
        Label(WIDTH - RIGHT - 130, 24, "forecast", "end", BLUE),
        Label(WIDTH - RIGHT, 24, f"{100 * outer:.6g} % interval", "end", GREY),
    ]


def _times(found: Prediction, shown: int, at: Place) -> list[Shape]:
    """The times of the first point, of the first step and of the last one."""
    times = found.series.column.times
    begin = times[-shown] if times else f"{1 - shown}"
    base = HEIGHT - 10
    ends = WIDTH - RIGHT
    return [
        Label(LEFT, base, begin),
        Label(at(shown, 0)[0], base, found.steps[0], "end"),
        *([Label(ends, base, found.steps[-1], "end")] if at(shown, 0)[0] < ends - 8 * len(found.steps[-1]) else []),
    ]
