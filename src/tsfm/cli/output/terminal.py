"""Forecasts as text: a table and a chart for one series, one line for each of many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from tsfm.cli.output import chart, columns, digits
from tsfm.cli.prediction import Prediction


def one(found: Prediction, level: float) -> str:
    """The steps with their interval, a summary of the history, and a chart."""
    history = history_of(found)
    drawn = chart.forecast(history, found.median, found.lower, found.upper)
    return "\n".join((_steps(found, history, level), found.series.column.summary(), drawn))


def many(found: Sequence[Prediction]) -> str:
    """One line for each series: how its forecast begins and ends."""
    rows: list[Sequence[str]] = [("SERIES", "ROWS", "LAST VALUE", "FIRST STEP", "FORECAST", "LAST STEP", "FORECAST")]
    for each in found:
        history = history_of(each)
        form = digits.form(digits.step([*history, *each.median]), max(map(abs, _finite([*history, *each.median]))))
        last = format(_finite(history)[-1], form)
        ends = [(each.steps[at], format(each.median[at], form)) for at in (0, -1)]
        rows.append((each.series.item_id, str(len(history)), last, *ends[0], *ends[1]))
    return columns.text(rows)


def history_of(found: Prediction) -> list[float]:
    """The series' values; NaN is a gap."""
    return [math.nan if value is None else value for value in found.series.column.values]


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _steps(found: Prediction, history: Sequence[float], level: float) -> str:
    """One row for each step, with enough digits to distinguish the steps."""
    rows = list(zip(found.lower, found.median, found.upper, strict=True))
    widths = [high - low for low, _, high in rows]
    form = digits.form(digits.step([*history, *found.median], median(widths)), max(abs(v) for row in rows for v in row))
    cells = [[format(value, form) for value in row] for row in rows]
    width = max(12, *(len(cell) for row in cells for cell in row))
    times = found.series.ahead or [""] * len(rows)
    first = max(map(len, times))
    lines = [
        f"{'step':>5} {'time' if first else '':<{first}} {'lower':>{width}} {'forecast':>{width}} {'upper':>{width}}"
        f"   ({100 * level:.6g}% interval)"
    ]
    for step, (time, row) in enumerate(zip(times, cells, strict=True), 1):
        lines.append(f"{step:>5} {time:<{first}} " + " ".join(f"{cell:>{width}}" for cell in row))
    return "\n".join(lines)
