"""Reads one column of a file in order of time, with notes about how it was read."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tsfm.errors import UsageError
from tsfm.table import contents, numbers, rows, text, times
from tsfm.table.rows import Rows
from tsfm.table.times import Instants, Times

# Names of columns that are no measurements: the series of a row, or the quality of its value.
SERIES = re.compile(r"(?i)(.*[_ .-])?(id|tbname|tag)|(group|meter|sensor|device|station|node|series|unique)_?id|.*编号")
STATE = re.compile(
    rf"{SERIES.pattern}|(.*[_ .-])?(quality|status|state|flags?|valid|qc|qualität|qualidade|zustand|estado)|"
    r".*(质量|状态)"
)


@dataclass(frozen=True)
class Options:
    """What the user says about the file; None: detected.

    Attributes:
        column: name, or number from 1 as text; a whole number is always the number.
        time: number of the column of times from 1; 0: there is none.
        series: number from 1 of a column that names the series of each row, and the series to read.
        apart: indexes of columns with another use, which are not taken for the values.
    """

    column: str | int | None = None
    time: int | None = None
    series: tuple[int, str] | None = None
    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    header: bool | None = None
    apart: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Column:
    """The values, oldest first.

    Attributes:
        file: the file, as errors name it.
        values: None for a gap.
        lines: the file's line of each value.
        times: the text of each value's time; empty where the file has none.
        notes: one sentence for each thing that the user should know.
        table: all columns, in the file's order.
        index, time_index: the columns of values and of times in ``table``.
        instants: times in ns since 1970 UTC, oldest first; None: the file has none, or they are no calendar times.
    """

    file: str
    name: str
    values: list[float | None]
    lines: list[int]
    times: list[str]
    notes: list[str]
    table: Rows
    index: int
    time_index: int | None
    instants: Instants | None

    def summary(self) -> str:
        """``column val, 96 rows, from 2026-03-01 to 2026-03-04``."""
        gaps = self.values.count(None)
        text = f"column {self.name}, {len(self.values)} row" + ("s" if len(self.values) > 1 else "")
        text += f" ({gaps} without a value)" if gaps else ""
        return f"{text}, from {self.times[0]} to {self.times[-1]}" if self.times else text

    def part(self, rows: slice) -> Column:
        """Some of the rows."""
        instants = None if self.instants is None else self.instants[rows]
        return replace(
            self, values=self.values[rows], lines=self.lines[rows], times=self.times[rows], instants=instants
        )


def read(file: str, options: Options) -> Column:
    """A column of a file; ``-`` is standard input.

    Raises:
        UsageError: it cannot be read, or can be read in two ways; the sentence names the line or the option.
    """
    file_name = name_of(file)
    return choose(file_name, *parse(file_name, text.load(file), options), options)


def name_of(file: str) -> str:
    """The file as sentences name it."""
    return "standard input" if file == "-" else file


def parse(file: str, data: bytes, options: Options) -> tuple[Rows, str]:
    """The table in a file's content, and a note on its encoding.

    Args:
        file: the file, as errors name it.
        data: the content, unpacked.

    Raises:
        UsageError: as in ``read``.
    """
    decoded, encoding = text.decode(file, data, options.encoding)
    return rows.read(file, decoded, options.separator, options.decimal, options.header), encoding


def choose(file: str, table: Rows, encoding: str, options: Options) -> Column:
    """A column of a table; the other arguments are those of ``parse``.

    Raises:
        UsageError: as in ``read``.
    """
    if options.series:
        table = _of_series(file, table, *options.series)
    found = times.find(file, table, options.time)
    index, chosen = pick(file, table, found, options)
    name = table.label(index)
    texts = table.column(index)
    values, sign = numbers.read(file, name, texts, table.lines, options.decimal, table.separator)
    if all(value is None for value in values):
        remedy = _others(table, found, index)
        raise UsageError(f"{file}: column {name}: expected at least one number, got {len(values)} gaps{remedy}")
    several = "" if options.series else _series_apart(table, index, options.apart)
    notes = [note for note in (encoding, *table.notes, chosen, several) if note]
    if sign == "," and options.decimal is None:
        notes.append(f"column {name} is read with decimal commas; --decimal says otherwise")
    newest_first, order = times.check(file, table, found) if found else (False, [])
    turn = -1 if newest_first else 1
    return Column(
        file,
        name,
        values[::turn],
        table.lines[::turn],
        found.texts[::turn] if found else [],
        notes + order,
        table,
        index,
        found.columns[0] if found else None,
        found.instants[::turn] if found and found.instants is not None else None,
    )


def _of_series(file: str, table: Rows, number: int, series: str) -> Rows:
    """The rows of one series."""
    index = _numbered(file, table, number)
    rows = [at for at, row in enumerate(table.cells) if row[index].strip() == series]
    if not rows:
        raise UsageError(f"{file}: column {table.label(index)} has no {series[:40]!r}")
    return replace(table, cells=[table.cells[at] for at in rows], lines=[table.lines[at] for at in rows])


def _numbered(file: str, table: Rows, number: int) -> int:
    if not 1 <= number <= len(table.names):
        raise UsageError(f"{file}: expected a column from 1 to {len(table.names)}, got {number}")
    return number - 1


def pick(file: str, table: Rows, found: Times | None, options: Options) -> tuple[int, str]:
    """The index of the column of values, and a note if another column might be meant.

    Raises:
        UsageError: there is none.
    """
    if isinstance(options.column, int):
        return _numbered(file, table, options.column), ""
    if options.column is not None:
        return named(file, table, options.column, "--column"), ""
    # An empty name over empty cells is a separator at the end of each line.
    candidates = [
        i
        for i in range(len(table.names))
        if i not in options.apart
        and not times.like(table, i, found)
        and (contents.filled(table, i) or not table.names[i].isdecimal())
    ]
    if not candidates:
        only = ", ".join(table.names)
        raise UsageError(
            f"{file}: expected a column of numbers, found only times: {only}; another separator? --separator"
        )
    changing = [i for i in candidates if contents.changes(table, i)]
    # A column of something like numbers is never skipped silently: reading it names what is wrong.
    likely = [i for i in candidates if not (contents.is_text(table, i) or contents.is_constant(table, i))]
    likely = [i for i in likely if not STATE.fullmatch(table.names[i])] or likely
    index = likely[-1] if changing else candidates[-1]
    others = [i for i in candidates if i != index and contents.is_numeric(table, i)]
    if not others or not changing:
        return index, ""
    still = [table.label(i) for i in others if i not in changing]
    same = f" ({', '.join(still)}: the same in all rows)" if still else ""
    return index, f"column {table.label(index)} is taken{same}; --column names another: {_labels(table, others)}"


def _series_apart(table: Rows, value: int, apart: frozenset[int]) -> str:
    """A note about a column that may name several series; their times may not show that."""
    for index, name in enumerate(table.names):
        words = list(dict.fromkeys(table.column(index)))
        names = SERIES.fullmatch(name) or (contents.is_text(table, index) and not STATE.fullmatch(name))
        if index != value and index not in apart and names and 1 < len(words) <= len(table.cells) / 2:
            some = ", ".join(words[:3]) + (", ..." if len(words) > 3 else "")
            return f"column {name} has {len(words)} different cells ({some}); if these are series: --id {name}"
    return ""


def _labels(table: Rows, columns: list[int]) -> str:
    return ", ".join(map(table.label, columns))


def named(file: str, table: Rows, column: str, option: str) -> int:
    """The column by its name, by its name in another case if that is unique, or by its number from 1.

    Raises:
        UsageError: there is none; the sentence names the option.
    """
    exact = [i for i, name in enumerate(table.names) if name == column]
    alike = exact or [i for i, name in enumerate(table.names) if name.casefold() == column.strip().casefold()]
    if len(alike) > 1:
        numbered = ", ".join(f"{i + 1} ({table.names[i]})" for i in alike)
        raise UsageError(f"{option}: {file} has {column!r} more than once; give its number: {numbered}")
    if alike:
        return alike[0]
    if column.isdecimal() and 1 <= int(column) <= len(table.names):
        return int(column) - 1
    raise UsageError(f"{option}: {file} has {', '.join(table.names)}; got {column!r}")


def _others(table: Rows, found: Times | None, index: int) -> str:
    others = [
        i
        for i in range(len(table.names))
        if i != index and not times.like(table, i, found) and contents.changes(table, i)
    ]
    return f"; --column names another: {_labels(table, others)}" if others else ""
