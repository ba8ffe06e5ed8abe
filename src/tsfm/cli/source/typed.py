"""Writes cells that have types as the text that a CSV file would hold, so that one reader serves all sources."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time

from tsfm.table import rows
from tsfm.table.rows import ALONE, Rows

LARGEST_EXACT = 2**53


def text(cell: object) -> str:
    """One cell: a gap is empty, a float without a fraction a whole number, a time in ISO 8601."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float):
        whole = cell.is_integer() and abs(cell) < LARGEST_EXACT
        return str(int(cell)) if whole else repr(cell)
    if isinstance(cell, datetime):
        return cell.isoformat(" ")
    if isinstance(cell, (date, time)):
        return cell.isoformat()
    return " ".join(str(cell).splitlines())


def table(file: str, lines: Iterable[Sequence[str]], header: bool | None) -> Rows:
    """The rows of texts, with names found, empty rows at the end left out, and lines counted from 1.

    Raises:
        UsageError: there are none.
    """
    written = io.StringIO()
    csv.writer(written, delimiter=ALONE, lineterminator="\n").writerows(lines)
    return rows.read(file, written.getvalue(), ALONE, ".", header)
