"""Columns that count time or rows in whole numbers: epochs, row numbers, compact dates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

from tsfm.table import cells
from tsfm.table.rows import Rows

NAMED = re.compile(
    r"(?i)_?(ts|t|time|times|timestamp|date|datetime|day|month|year|hour|index|epoch|unix\w*|\w*_(ts|time|date|at)|"
    r"datum|zeit\w*|uhrzeit|hora|fecha|tiempo|序号|时刻|\w*时间\w*|\w*日期\w*|#|no|nr|row)"
)
COMPACT = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])(?:[0-2]\d[0-5]\d(?:[0-5]\d)?)?", re.ASCII)
WHOLE = re.compile(r"[0-9]{1,19}(?:\.0*)?|[0-9]{10,19}\.[0-9]*")
SECONDS_DIGITS = 10
DIGITS = (SECONDS_DIGITS, 13, 16, 19)  # of an epoch in s, ms, us, ns
EARLIEST, LATEST, YEAR_S = 1990, 2100, 31_556_952


def is_counter(rows: Rows, index: int) -> bool:
    """Whether a column counts time, or has a name for row numbers; another column must remain for the values."""
    texts = whole(rows, index)
    if not texts or not _is_named(rows, index) or not _has_others(rows, index):
        return is_epoch(rows, index)
    return is_epoch(rows, index) or _is_monotone(texts) or all(map(COMPACT.fullmatch, texts))


def is_epoch(rows: Rows, index: int) -> bool:
    """Whether a column contains epochs; another column must remain for the values.

    A meter may have as many digits as epoch seconds: those must have a name of time, or one constant step.
    """
    texts = whole(rows, index)
    if not _are_epochs(texts) or not _has_others(rows, index):
        return False
    even = len({Decimal(b) - Decimal(a) for a, b in pairwise(texts)}) == 1
    return even or _is_named(rows, index) or len(_whole_part(texts[0])) > SECONDS_DIGITS


def whole(rows: Rows, index: int) -> list[str]:
    """The cells of a column, if all are whole numbers (epochs may have a fraction); else an empty list."""
    texts = [cells.plain(text) for text in rows.column(index)]
    return texts if all(map(WHOLE.fullmatch, texts)) else []


def steps(texts: Sequence[str]) -> list[float]:
    """Differences of neighbouring numbers, in ns for epochs."""
    scale = _scale(texts) if _are_epochs(texts) else 1
    return [float((Decimal(b) - Decimal(a)) * scale) for a, b in pairwise(texts)]


def first_ns(texts: Sequence[str]) -> int:
    """The first of some epochs, in ns since 1970 UTC."""
    return int(Decimal(texts[0]) * _scale(texts))


def _scale(texts: Sequence[str]) -> int:
    """Nanoseconds in one unit of the epochs."""
    return int(10 ** (9 - 3 * DIGITS.index(len(_whole_part(texts[0])))))


def _is_named(rows: Rows, index: int) -> bool:
    # pandas writes row numbers as a column without a name.
    name = rows.names[index]
    return rows.has_header and (name == str(index + 1) or NAMED.fullmatch(name) is not None)


def _has_others(rows: Rows, index: int) -> bool:
    return any(i != index and cells.mostly(rows.column(i), cells.is_number) for i in range(len(rows.names)))


def _is_monotone(texts: Sequence[str]) -> bool:
    signs = {(b > a) - (b < a) for a, b in pairwise(map(Decimal, texts))}
    return len(signs) == 1 and 0 not in signs


def _are_epochs(texts: Sequence[str]) -> bool:
    parts = [_whole_part(text) for text in texts]
    if not parts or len(parts[0]) not in DIGITS or any(len(part) != len(parts[0]) for part in parts):
        return False
    per_second = 10 ** (len(parts[0]) - SECONDS_DIGITS)
    return all(EARLIEST < 1970 + int(part) / per_second / YEAR_S < LATEST for part in parts)


def _whole_part(text: str) -> str:
    return text.partition(".")[0]
