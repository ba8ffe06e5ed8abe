"""The times beside the numbers: are the rows in order, does one repeat, are some missing? pandas reads them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pandas as pd

from tsfm.errors import UsageError
from tsfm.table import cells
from tsfm.table.rows import Rows

NAMED = re.compile(
    r"(?i)_?(ts|t|time|times|timestamp|date|datetime|day|month|year|hour|index|epoch|unix\w*|\w*_(ts|time|date|at)|"
    r"datum|zeit\w*|uhrzeit|data|hora|fecha|tiempo|序号|时间\w*|日期\w*|时刻|\w*时间|\w*日期|#|no|nr|row)"
)
COMPACT = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])(?:[0-2]\d[0-5]\d(?:[0-5]\d)?)?", re.ASCII)
ZONE = re.compile(r"\d\s*(?:Z|UTC|GMT|[+-]\d{2}:?\d{2})$")
Steps = np.ndarray[tuple[int], np.dtype[np.float64]]
Positions = np.ndarray[tuple[int], np.dtype[np.intp]]
SECONDS_DIGITS = 10
DIGITS = (SECONDS_DIGITS, 13, 16, 19)  # of an epoch in s, ms, us, ns
WHOLE = re.compile(r"[0-9]{1,19}(?:\.0*)?|[0-9]{10,19}\.[0-9]*")
EARLIEST, LATEST, YEAR_S = 1990, 2100, 31_556_952
CLOCK_CHANGE_NS = 3_600_000_000_000
EVEN = 0.05
SAMPLE = 500  # rows that tell what a column is; each one is read later


@dataclass(frozen=True)
class Times:
    """One column of times.

    Attributes:
        columns: where they stand; two where date and time of day are apart.
        texts: as the file has them.
        steps: from each row to the next, shape (n - 1,), ns or what the column counts in; None: not readable.
        mixed: they are written in more than one form, or some with a time zone and some without.
    """

    columns: tuple[int, ...]
    name: str
    texts: list[str]
    steps: Steps | None
    mixed: bool = False


def find(file: str, rows: Rows) -> Times | None:
    """The table's first column of times; None where it has none.

    Raises:
        UsageError: a cell of it is no time, as in a line of totals.
    """
    dates = [i for i in range(len(rows.names)) if _mostly(rows.column(i), cells.is_date)]
    if dates:
        clocks = [i for i in range(len(rows.names)) if _mostly(rows.column(i), cells.is_clock)]
        return _written(file, rows, (dates[0], *clocks[:1]))
    return _counted(rows)


def like(rows: Rows, index: int, times: Times | None) -> bool:
    """Whether a column holds times, those of ``times`` or others."""
    if times and index in times.columns:
        return True
    texts = rows.column(index)
    return _mostly(texts, cells.is_date) or _mostly(texts, cells.is_clock) or _counts(rows, index)


def check(file: str, rows: Rows, times: Times) -> tuple[bool, list[str]]:
    """Whether the newest row comes first, and what a person should know of the order.

    Raises:
        UsageError: the rows are in no order, or of several series.
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
    said = f"line {line}, column {times.name}: the time falls from {before} to {after}"
    if falls.size > 2 or (steps[falls] < -CLOCK_CHANGE_NS).any():
        raise UsageError(f"{file}: {said}; sort the rows by time, oldest first")
    return f"{said}, as when clocks are changed: the rows are taken in the file's order"


def _uneven(lines: Sequence[int], times: Times, steps: Steps) -> list[str]:
    """Words on times that repeat, jump, or have no common step."""
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
            f"{lines[jumps[0] + 1]}; the rows are taken as if none were, so write them in with an empty cell"
        )
    return notes


def _rows(count: int, many: str = "have", one: str = "has") -> str:
    return f"rows {many}" if count > 1 else f"row {one}"


def _several_series(file: str, rows: Rows, times: Times, steps: Steps) -> None:
    """Refuse rows of several series, told by a column under each of whose values time only rises or only falls."""
    at = pd.Series(np.concatenate([[0.0], np.cumsum(steps)]))
    for index, name in enumerate(rows.names):
        series = rows.column(index)
        count = len(set(series))
        if index in times.columns or not 1 < count <= len(series) / 2:
            continue
        apart = at.groupby(pd.Series(series)).diff().dropna()
        if (apart > 0).all() or (apart < 0).all():
            some = ", ".join(list(dict.fromkeys(series))[:3]) + (", ..." if count > 3 else "")
            apart_said = f"names {count} series ({some}), each with times of its own"
            raise UsageError(f"{file}: column {name} {apart_said}; leave the rows of one")


def _written(file: str, rows: Rows, columns: tuple[int, ...]) -> Times:
    name = rows.names[columns[0]]
    texts = [" ".join(row[i].strip() for i in columns) for row in rows.cells]
    for line, row in zip(rows.lines, rows.cells, strict=True):
        if not cells.is_date(row[columns[0]]):
            got = repr(row[columns[0]][:40]) if row[columns[0]].strip() else "an empty cell"
            place = f"{file}: line {line}, column {name}"
            raise UsageError(f"{place}: expected a time, got {got}; a line of totals or units? take it out")
    western = [_western(text) for text in texts]
    steps, mixed = _steps(western)
    zones = sum(ZONE.search(text) is not None for text in western)
    return Times(columns, name, texts, steps, mixed or 0 < zones < len(western))


def _western(text: str) -> str:
    if text.isascii():
        return text
    plain = re.sub(r"\s*[年月]\s*(?=\d)", "-", cells.plain(text))
    plain = re.sub(r"\s*[时分]\s*(?=\d)", ":", re.sub(r"日\s*", " ", plain)).replace("时", ":00")
    return re.sub(r"[月分秒年]", "", plain).strip()


def _steps(texts: list[str]) -> tuple[Steps | None, bool]:
    """Differences in ns by the reading with the fewest falls and the most even steps; whether forms are mixed."""
    series = pd.Series(texts)
    readings: list[Steps] = []
    for form in (None, "ISO8601", "mixed"):
        for day_first in (False, True):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # which form was guessed, and that a day may be a month
                try:
                    read = pd.to_datetime(series, format=form, dayfirst=day_first, utc=True)
                except (ValueError, OverflowError):
                    continue
            readings.append(np.diff(read.to_numpy("datetime64[ns]").astype(np.int64)).astype(np.float64))
        if readings:
            return min(readings, key=_disorder), form == "mixed"
    return None, False


def _disorder(steps: Steps) -> tuple[int, int]:
    turned = min(int((steps < 0).sum()), int((steps > 0).sum()))
    return turned, len(np.unique(steps))


def _counted(rows: Rows) -> Times | None:
    """A column of epochs, else one of row numbers."""
    found = [index for index in range(len(rows.names)) if _counts(rows, index)]
    for index in sorted(found, key=lambda index: not _is_epoch(_whole(rows, index))):
        texts = _whole(rows, index)
        if all(map(COMPACT.fullmatch, texts)):
            return Times((index,), rows.names[index], texts, *_steps(texts))
        steps = [float(Decimal(b) - Decimal(a)) for a, b in pairwise(texts)]
        scale = 10 ** (9 - 3 * DIGITS.index(len(_whole_part(texts[0])))) if _is_epoch(texts) else 1
        return Times((index,), rows.names[index], texts, np.array(steps, dtype=np.float64) * scale)
    return None


def _counts(rows: Rows, index: int) -> bool:
    """Whether a column counts time or rows, where another one is left to hold the values."""
    texts = _whole(rows, index)
    others = [i for i in range(len(rows.names)) if i != index and _mostly(rows.column(i), cells.is_number)]
    if not texts or not others:
        return False
    name = rows.names[index]
    # A column without a name is the row numbers that pandas writes.
    named = rows.has_header and (name == str(index + 1) or NAMED.fullmatch(name) is not None)
    if _is_epoch(texts):
        even = len({Decimal(b) - Decimal(a) for a, b in pairwise(texts)}) == 1
        return named or even or len(_whole_part(texts[0])) > SECONDS_DIGITS
    return named and (_rises(texts) or all(map(COMPACT.fullmatch, texts)))


def _whole(rows: Rows, index: int) -> list[str]:
    """A column of whole numbers alone, with a fraction where they are epochs; else nothing."""
    texts = [cells.plain(text) for text in rows.column(index)]
    return texts if all(map(WHOLE.fullmatch, texts)) else []


def _whole_part(text: str) -> str:
    return text.partition(".")[0]


def _rises(texts: Sequence[str]) -> bool:
    counted = list(map(Decimal, texts))
    steps = {(b > a) - (b < a) for a, b in pairwise(counted)}
    return len(steps) == 1 and 0 not in steps


def _is_epoch(texts: Sequence[str]) -> bool:
    whole = [_whole_part(text) for text in texts]
    if len(whole[0]) not in DIGITS or any(len(text) != len(whole[0]) for text in whole):
        return False
    per_second = 10 ** (len(whole[0]) - SECONDS_DIGITS)
    return all(EARLIEST < 1970 + int(text) / per_second / YEAR_S < LATEST for text in whole)


def _mostly(texts: Sequence[str], is_one: Callable[[str], bool]) -> bool:
    filled = [text for text in texts[:: len(texts) // SAMPLE + 1] if text.strip()]
    return sum(map(is_one, filled)) * 2 > len(filled)
