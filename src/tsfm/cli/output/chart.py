"""A forecast, or a series with its anomalies, drawn in plain text, for a terminal or a log."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tsfm.cli.output import digits

HEIGHT, WIDTH, LABEL_EVERY = 12, 72, 4
HISTORY, MEDIAN, INTERVAL, ANOMALY = "*", "o", ":", "X"


Column = list[tuple[str, float, float]]
"""What is drawn at one place: marks, each from a value to another; a later one covers an earlier one."""


def forecast(history: Sequence[float], median: Sequence[float], lower: Sequence[float], upper: Sequence[float]) -> str:
    """The newest history and the forecast with its interval, one column for each step, NaN left out."""
    shown = list(history)[-max(8, WIDTH - len(median)) :]
    steps = min(len(median), WIDTH - len(shown)) if len(shown) < WIDTH else 0
    drawn: list[Column] = [[(HISTORY, v, v)] for v in shown]
    drawn += [
        [(INTERVAL, lo, hi), (MEDIAN, mid, mid)]
        for mid, lo, hi in zip(median[:steps], lower[:steps], upper[:steps], strict=True)
    ]
    return _draw(drawn)


def tested(values: Sequence[float | None], forecasts: Mapping[int, tuple[float, float, float]]) -> str:
    """The newest values over what was forecast of them: (median, lower, upper) by row."""
    first = max(len(values) - WIDTH, 0)
    drawn: list[Column] = []
    for row, value in enumerate(values[first:], first):
        median, lower, upper = forecasts.get(row, (math.nan,) * 3)
        drawn.append([(INTERVAL, lower, upper), (MEDIAN, median, median)])
        drawn[-1] += [] if value is None else [(HISTORY, value, value)]
    return _draw(drawn)


def judged(values: Sequence[float | None], flagged: Sequence[int]) -> str:
    """All values, several in one column where there are many, and over them those that stand out."""
    each = -(-len(values) // WIDTH)
    drawn: list[Column] = []
    for first in range(0, len(values), each):
        known = [value for value in values[first : first + each] if value is not None]
        drawn.append([(HISTORY, min(known), max(known))] if known else [])
    for at in flagged:
        if (value := values[at]) is not None:
            drawn[at // each].append((ANOMALY, value, value))
    return _draw(drawn)


def _draw(columns: Sequence[Column]) -> str:
    values = [v for column in columns for _, *ends in column for v in ends if math.isfinite(v)]
    low, high = min(values), max(values)
    grid = [[" "] * len(columns) for _ in range(HEIGHT)]
    for x, column in enumerate(columns):
        for mark, bottom, top in column:
            if math.isfinite(bottom) and math.isfinite(top):
                for y in range(_row(top, low, high), _row(bottom, low, high) + 1):
                    grid[y][x] = mark
    labels = _labels(low, high)
    return "\n".join(label + " |" + "".join(row).rstrip() for label, row in zip(labels, grid, strict=True))


def _row(value: float, low: float, high: float) -> int:
    """The grid's row of a value, 0 at the top."""
    if high == low:
        return HEIGHT // 2
    return round((HEIGHT - 1) * (high / 2 - value / 2) / (high / 2 - low / 2))


def _labels(low: float, high: float) -> list[str]:
    """The values of every fourth row and of the last, with digits enough that they differ; all of one width."""
    shown = [*range(0, HEIGHT - 1, LABEL_EVERY), HEIGHT - 1]
    values = {row: high - (high / (HEIGHT - 1) - low / (HEIGHT - 1)) * row for row in shown}
    form = digits.form(high / (HEIGHT - 1) - low / (HEIGHT - 1), max(abs(low), abs(high)))
    texts = {row: format(value, form) for row, value in values.items()}
    width = max(11, *map(len, texts.values()))
    return [f"{texts.get(row, ''):>{width}}" for row in range(HEIGHT)]
