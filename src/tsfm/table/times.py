"""Checks the times beside the numbers with pandas: the order of the rows, repeated times, missing rows."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tsfm.errors import UsageError
from tsfm.table import cells, counted
from tsfm.table.rows import Rows

ZONE = re.compile(r"\d\s*(?:Z|UTC|GMT|[+-]\d{2}:?\d{2})$")
Steps = np.ndarray[tuple[int], np.dtype[np.float64]]
Instants = np.ndarray[tuple[int], np.dtype[np.int64]]
Positions = np.ndarray[tuple[int], np.dtype[np.intp]]
YEAR_FIRST = re.compile(r"\d{4}(?!\d)")
CLOCK_CHANGE_NS = 3_600_000_000_000
EVEN = 0.05


class SeveralSeries(UsageError):
    """The rows belong to several series.

    Attributes:
        index: of the column that names them.
    """

    def __init__(self, sentence: str, index: int) -> None:
        super().__init__(sentence)
        self.index = index


@dataclass(frozen=True)
class Times:
    """One column of times.

    Attributes:
        columns: their columns; two if date and time of day are separate.
        texts: the cells as they are in the file.
        steps: differences of neighbouring rows, shape (n - 1,), in ns or in the column's own unit; None: not readable.
        mixed: they have more than one form, or only some have a time zone.
        instants: shape (n,), ns since 1970 UTC; None: not readable, or counted in another unit.
    """

    columns: tuple[int, ...]
    name: str
    texts: list[str]
    steps: Steps | None
    mixed: bool = False
    instants: Instants | None = None


def find(file: str, rows: Rows, number: int | None = None) -> Times | None:
    """The table's column of times; None if it has none.

    Args:
        number: of the column, from 1; 0: none is a time; None: the first one that has times.

    Raises:
        UsageError: one of its cells is no time, as in a line of totals.
    """
    if number == 0:
        return None
    among = range(len(rows.names)) if number is None else range(number - 1, min(number, len(rows.names)))
    dates = [i for i in among if cells.mostly(rows.column(i), cells.is_date)]
    if dates:
        clocks = [i for i in range(len(rows.names)) if cells.mostly(rows.column(i), cells.is_clock)]
        return _written(file, rows, (dates[0], *clocks[:1]))
    counted_times = _counted(rows, among)
    if number is not None and not counted_times:
        raise UsageError(f"{file}: expected times in column {number}, found none")
    return counted_times


def like(rows: Rows, index: int, times: Times | None) -> bool:
    """Whether a column contains times, those of ``times`` or others."""
    if times and index in times.columns:
        return True
    texts = rows.column(index)
    dated = cells.mostly(texts, cells.is_date) or cells.mostly(texts, cells.is_clock)
    return dated or counted.is_epoch(rows, index)


def check(file: str, rows: Rows, times: Times) -> tuple[bool, list[str]]:
    """Whether the newest row comes first, and notes about the order.

    Raises:
        UsageError: the rows have no order, or belong to several series.
    """
    steps = times.steps
    if steps is None:
        return False, [
            f"the times of column {times.name} cannot be read ({times.texts[0]!r}): their order is not checked"
        ]
    newest_first = bool((steps <= 0).all() and (steps < 0).any())
    if (steps == 0).any() or ((steps < 0).any() and not newest_first):
        _several_series(file, rows, times, steps)
    if newest_first:
        steps = -steps[::-1]
    notes = [f"column {times.name}: the newest row comes first, the rows are turned round"] if newest_first else []
    if times.mixed:
        notes.append(f"column {times.name}: the times are written in more than one form")
    lines = rows.lines[::-1] if newest_first else rows.lines
    falls = np.flatnonzero(steps < 0)
    if falls.size:
        notes.append(_falls(file, lines, times, steps, falls))
    return newest_first, notes + _uneven(lines, times, steps)


def _falls(file: str, lines: Sequence[int], times: Times, steps: Steps, falls: Positions) -> str:
    line, at = lines[falls[0] + 1], int(falls[0])
    before, after = times.texts[at], times.texts[at + 1]
    fall = f"line {line}, column {times.name}: the time falls from {before} to {after}"
    if falls.size > 2 or (steps[falls] < -CLOCK_CHANGE_NS).any():
        raise UsageError(f"{file}: {fall}; sort the rows by time, oldest first")
    return f"{fall}, as when clocks are changed: the rows are taken in the file's order"


def _uneven(lines: Sequence[int], times: Times, steps: Steps) -> list[str]:
    """Notes about times that repeat, jump, or have no common step."""
    notes, forward = [], steps[steps > 0]
    again = np.flatnonzero(steps == 0)
    if again.size:
        notes.append(
            f"column {times.name}: {again.size} {_rows(again.size)} the time of the row before, the first is line "
            f"{lines[again[0] + 1]}; every row counts as one step"
        )
    if not forward.size:
        return notes
    step = float(np.median(forward))
    jumps = np.flatnonzero(steps > 1.5 * step)
    if jumps.size > len(forward) / 3 or (np.abs(forward / step - 1) > EVEN).sum() > jumps.size + len(forward) / 3:
        return [*notes, f"column {times.name}: the times are not evenly spaced; every row counts as one step"]
    if jumps.size:
        missing = int(np.round(steps[jumps] / step - 1).sum())
        notes.append(
            f"column {times.name}: {missing} {_rows(missing, 'are', 'is')} missing, the first before line "
            f"{lines[jumps[0] + 1]}; the rows are taken as if none were; to count them, write them in with empty cells"
        )
    return notes


def _rows(count: int, many: str = "have", one: str = "has") -> str:
    return f"rows {many}" if count > 1 else f"row {one}"


def _several_series(file: str, rows: Rows, times: Times, steps: Steps) -> None:
    """Refuse rows of several series: for each value of some column, time only rises or only falls."""
    at = pd.Series(np.concatenate([[0.0], np.cumsum(steps)]))
    for index, name in enumerate(rows.names):
        series = rows.column(index)
        count = len(set(series))
        if index in times.columns or not 1 < count <= len(series) / 2:
            continue
        apart = at.groupby(pd.Series(series)).diff().dropna()
        if (apart > 0).all() or (apart < 0).all():
            some = ", ".join(list(dict.fromkeys(series))[:3]) + (", ..." if count > 3 else "")
            reason = f"names {count} series ({some}), each with times of its own"
            raise SeveralSeries(f"{file}: column {name} {reason}; --id {name} takes each of them", index)


def _written(file: str, rows: Rows, columns: tuple[int, ...]) -> Times:
    name = rows.names[columns[0]]
    texts = [" ".join(row[i].strip() for i in columns) for row in rows.cells]
    for line, row in zip(rows.lines, rows.cells, strict=True):
        if not cells.is_date(row[columns[0]]):
            got = repr(row[columns[0]][:40]) if row[columns[0]].strip() else "an empty cell"
            position = f"{file}: line {line}, column {name}"
            raise UsageError(f"{position}: expected a time, got {got}; a line of totals or units? take it out")
    western = [_western(text) for text in texts]
    instants, mixed = _instants(western)
    zones = sum(ZONE.search(text) is not None for text in western)
    return _timed(columns, name, texts, instants, mixed or 0 < zones < len(western))


def _timed(columns: tuple[int, ...], name: str, texts: list[str], instants: Instants | None, mixed: bool) -> Times:
    steps = None if instants is None else _steps(instants)
    return Times(columns, name, texts, steps, mixed, instants)


def _steps(instants: Instants) -> Steps:
    return np.diff(instants).astype(np.float64)


def _western(text: str) -> str:
    if text.isascii():
        return text
    plain = re.sub(r"\s*[年月]\s*(?=\d)", "-", cells.plain(text))
    plain = re.sub(r"\s*[时分]\s*(?=\d)", ":", re.sub(r"日\s*", " ", plain)).replace("时", ":00")
    return re.sub(r"[月分秒年]", "", plain).strip()


def _instants(texts: list[str]) -> tuple[Instants | None, bool]:
    """Times in ns, from the reading with the fewest falls and the most even steps; whether forms are mixed."""
    series = pd.Series(texts)
    readings: list[Instants] = []
    # After a year comes the month: read the other way round, the first of each month would be the days of January.
    orders = (False,) if all(map(YEAR_FIRST.match, texts)) else (False, True)
    for form in (None, "ISO8601", "mixed"):
        for day_first in orders:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # which form was guessed, and that a day may be a month
                try:
                    read = pd.to_datetime(series, format=form, dayfirst=day_first, utc=True)
                except (ValueError, OverflowError):
                    continue
            readings.append(read.to_numpy("datetime64[ns]").astype(np.int64))
        if readings:
            return min(readings, key=lambda instants: _disorder(_steps(instants))), form == "mixed"
    return None, False


def _disorder(steps: Steps) -> tuple[int, int]:
    turned = min(int((steps < 0).sum()), int((steps > 0).sum()))
    return turned, len(np.unique(steps))


def _counted(rows: Rows, among: Iterable[int]) -> Times | None:
    """A column of epochs, else one of row numbers."""
    found = [i for i in among if counted.is_counter(rows, i)]
    if not found:
        return None
    index = next((i for i in found if counted.is_epoch(rows, i)), found[0])
    name, texts = rows.names[index], counted.whole(rows, index)
    if all(map(counted.COMPACT.fullmatch, texts)):
        return _timed((index,), name, texts, *_instants(texts))
    steps = np.array(counted.steps(texts), dtype=np.float64)
    first = counted.first_ns(texts) if counted.is_epoch(rows, index) else None
    instants = None if first is None else first + np.concatenate([[0], np.cumsum(steps.astype(np.int64))])
    return Times((index,), name, texts, steps, instants=instants)
