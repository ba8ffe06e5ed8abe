"""A table as the page shows it: its columns, and one series with its times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from tsfm.table import cells, column, frequency, text, times
from tsfm.table.column import Column, Options
from tsfm.table.rows import Rows
from tsfm.table.times import SeveralSeries

Fields = dict[str, object]
LARGEST = 32 << 20  # bytes of a packed file when it is unpacked
MOST_SERIES = 1000  # names of series that are listed


def view(file: str, data: bytes, options: Options, number: int | None, most: int) -> Fields:
    """The columns of a file's content and the newest values of one series, as fields of JSON.

    Args:
        file: as errors and notes name it.
        number: of the column that names each row's series, from 1; 0: there is none; None: detected.
        most: so many values are given.

    Raises:
        UsageError: it cannot be read, or can be read in two ways.
    """
    table, encoding = column.parse(file, text.unpack(file, data, LARGEST), options)
    index = _series_column(table, options) if number is None else number - 1
    if names := _names(table, index):
        options = _of_one(options, index, names)
    try:
        found = column.choose(file, table, encoding, options)
    except SeveralSeries as error:
        if number is not None:
            raise
        names = _names(table, error.index)
        index, options = error.index, _of_one(options, error.index, names)
        found = column.choose(file, table, encoding, options)
    return _fields(table, found, most) | {
        "series_column": index + 1 if names else None,
        "series_names": names[:MOST_SERIES],
        "series": options.series[1] if options.series else None,
    }


def _of_one(options: Options, index: int, names: Sequence[str]) -> Options:
    """The options for one series: the one that they name, or the first."""
    return options if options.series else replace(options, series=(index + 1, names[0]))


def _fields(table: Rows, found: Column, most: int) -> Fields:
    instants = found.instants
    notes = list(found.notes)
    if len(found.values) > most:
        notes.append(f"of {len(found.values)} rows the newest {most} are taken (max_rows in tsfm.ini)")
    return {
        "columns": [{"number": at + 1, "name": name, "kind": _kind(table, at)} for at, name in enumerate(table.names)],
        "value_column": found.index + 1,
        "time_column": None if found.time_index is None else found.time_index + 1,
        "values": found.values[-most:],
        "times": None if instants is None else [_iso(moment) for moment in instants[-most:].tolist()],
        "freq": frequency.of(instants),
        "notes": notes,
    }


def _iso(moment: int) -> str:
    """``2026-03-01T00:15:00``, in UTC; milliseconds where there are some."""
    seconds, rest = divmod(moment, 10**9)
    written = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
    return f"{written}.{rest // 10**6:03d}" if rest else written


def _kind(table: Rows, index: int) -> str:
    texts = table.column(index)
    if times.like(table, index, None):
        return "time"
    return "number" if cells.mostly(texts, lambda cell: cells.kind(cell) in (cells.NUMBER, cells.GAP)) else "text"


def _series_column(table: Rows, options: Options) -> int:
    """The first column with a name such as meter_id whose words repeat; -1: none."""
    if options.series:
        return options.series[0] - 1
    for index, name in enumerate(table.names):
        if column.SERIES.fullmatch(name) and 1 < len(_names(table, index)) <= len(table.cells) / 2:
            return index
    return -1


def _names(table: Rows, index: int) -> list[str]:
    """The words of a column; none if there is no such column."""
    if not 0 <= index < len(table.names):
        return []
    return list(dict.fromkeys(row[index].strip() for row in table.cells))
