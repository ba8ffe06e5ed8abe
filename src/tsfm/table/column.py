"""Reads one column of a file in order of time, with notes about how it was read."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tsfm.errors import UsageError
from tsfm.table import cells, numbers, rows, text, times
from tsfm.table.rows import Rows
from tsfm.table.times import Times

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
        column, time: by name, or by number from 1; an int is the index itself.
        apart: indexes of columns with another use, which are not taken for the values.
    """

    column: str | int | None = None
    time: str | int | None = None
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
        moments: the same in ns since 1970, or in numbers of rows; None where the file has none, or none readable.
        unit_ns: how many ns one unit of the column of times is; 0 for numbers of rows.
        notes: one sentence for each thing that the user should know.
    """

    file: str
    name: str
    values: list[float | None]
    lines: list[int]
    times: list[str]
    notes: list[str]
    moments: list[int] | None = None
    unit_ns: int = 1

    def summary(self) -> str:
        """``column val, 96 rows, from 2026-03-01 to 2026-03-04``."""
        gaps = self.values.count(None)
        shown = f"column {self.name}, {len(self.values)} row" + ("s" if len(self.values) > 1 else "")
        shown += f" ({gaps} without a value)" if gaps else ""
        return f"{shown}, from {self.times[0]} to {self.times[-1]}" if self.times else shown

    def part(self, rows: slice) -> Column:
        """Some of the rows."""
        moments = self.moments[rows] if self.moments else None
        return replace(self, values=self.values[rows], lines=self.lines[rows], times=self.times[rows], moments=moments)


def read(file: str, options: Options) -> Column:
    """A column of a file; ``-`` is standard input.

    Raises:
        UsageError: it cannot be read, or can be read in two ways; the sentence names the line or the option.
    """
    file_name = name_of(file)
    return of(file_name, split(file_name, text.load(file), options), options)


def name_of(file: str) -> str:
    """The file as sentences name it."""
    return "standard input" if file == "-" else file


def split(file: str, data: bytes, options: Options) -> Rows:
    """The table in a text's bytes.

    Raises:
        UsageError: as ``read``.
    """
    decoded, encoding = text.decode(file, data, options.encoding)
    table = rows.read(file, decoded, options.separator, options.decimal, options.header)
    return replace(table, notes=[*([encoding] if encoding else []), *table.notes])


def of(file: str, table: Rows, options: Options) -> Column:
    """A column of a table.

    Raises:
        UsageError: as ``read``.
    """
    index, chosen, found = choose(file, table, options)
    name = table.label(index)
    texts = table.column(index)
    values, sign = numbers.read(file, name, texts, table.lines, options.decimal, table.separator)
    if all(value is None for value in values):
        remedy = _others(table, found, index)
        raise UsageError(f"{file}: column {name}: expected at least one number, got {len(values)} gaps{remedy}")
    notes = [note for note in (*table.notes, chosen, _series_apart(table, index, options.apart)) if note]
    if sign == "," and options.decimal is None:
        notes.append(f"column {name} is read with decimal commas; --decimal says otherwise")
    newest_first, order = times.check(file, table, found) if found else (False, [])
    turn = -1 if newest_first else 1
    written, moments, unit_ns = (found.texts, found.moments, found.unit_ns) if found else ([], None, 1)
    moments = moments[::turn] if moments else None
    return Column(file, name, values[::turn], table.lines[::turn], written[::turn], notes + order, moments, unit_ns)


def choose(file: str, table: Rows, options: Options) -> tuple[int, str, Times | None]:
    """The index of the column of values, a note if another column might be meant, and the times.

    Raises:
        UsageError: as ``read``.
    """
    given = None if options.time is None else named(file, table, options.time, "--time")
    found = times.find(file, table, given)
    if options.column is not None:
        return named(file, table, options.column, "--column"), "", found
    return *_likely(file, table, found, options.apart), found


def _likely(file: str, table: Rows, found: Times | None, apart: frozenset[int]) -> tuple[int, str]:
    """The index of the most likely column, and a note if another column might be meant."""
    # An empty name over empty cells is a separator at the end of each line.
    candidates = [
        i
        for i in range(len(table.names))
        if i not in apart and not times.like(table, i, found) and (_filled(table, i) or not table.names[i].isdecimal())
    ]
    if not candidates:
        only = ", ".join(table.names)
        raise UsageError(
            f"{file}: expected a column of numbers, found only times: {only}; another separator? --separator"
        )
    changing = [i for i in candidates if _changes(table, i)]
    # A column of something like numbers is never skipped silently: reading it names what is wrong.
    likely = [i for i in candidates if not (_is_text(table, i) or _is_constant(table, i))]
    likely = [i for i in likely if not STATE.fullmatch(table.names[i])] or likely
    index = likely[-1] if changing else candidates[-1]
    others = [i for i in candidates if i != index and _is_numeric(table, i)]
    if not others or not changing:
        return index, ""
    still = [table.label(i) for i in others if i not in changing]
    same = f" ({', '.join(still)}: the same in all rows)" if still else ""
    return index, f"column {table.label(index)} is taken{same}; --column names another: {_labels(table, others)}"


def _series_apart(table: Rows, value: int, apart: frozenset[int]) -> str:
    """A note about a column that may name several series; their times may not show that."""
    for index, name in enumerate(table.names):
        words = list(dict.fromkeys(table.column(index)))
        names = SERIES.fullmatch(name) or (_is_text(table, index) and not STATE.fullmatch(name))
        if index != value and index not in apart and names and 1 < len(words) <= len(table.cells) / 2:
            some = ", ".join(words[:3]) + (", ..." if len(words) > 3 else "")
            return f"column {name} has {len(words)} different cells ({some}); if these are series: --id {name}"
    return ""


def _labels(table: Rows, columns: list[int]) -> str:
    return ", ".join(map(table.label, columns))


def named(file: str, table: Rows, given: str | int, option: str) -> int:
    """The column by its name, by its name in another case if that is unique, or by its number from 1.

    Raises:
        UsageError: there is none; the sentence names the option.
    """
    if isinstance(given, int):
        return given
    exact = [i for i, name in enumerate(table.names) if name == given]
    alike = exact or [i for i, name in enumerate(table.names) if name.casefold() == given.strip().casefold()]
    if len(alike) > 1:
        numbered = ", ".join(f"{i + 1} ({table.names[i]})" for i in alike)
        raise UsageError(f"{option}: {file} has {given!r} more than once; give its number: {numbered}")
    if alike:
        return alike[0]
    if given.isdecimal() and 1 <= int(given) <= len(table.names):
        return int(given) - 1
    raise UsageError(f"{option}: {file} has {', '.join(table.names)}; got {given!r}")


def _filled(table: Rows, index: int) -> bool:
    return any(text.strip() for text in table.column(index))


def _is_numeric(table: Rows, index: int) -> bool:
    return all(cells.kind(text) in (cells.NUMBER, cells.GAP) for text in table.column(index)[:500])


def _is_text(table: Rows, index: int) -> bool:
    """Only words, such as states; a number with a unit does not count as a word."""
    words = _texts(table, index)
    return bool(words) and not any(character.isdigit() for word in words for character in word)


def _is_constant(table: Rows, index: int) -> bool:
    """The same number in all rows: such a column is a state if another column changes."""
    return _is_numeric(table, index) and len(_texts(table, index)) == 1


def _texts(table: Rows, index: int) -> set[str]:
    """The texts of a column, without gaps."""
    return {text for text in table.column(index) if not cells.is_gap(text)}


def _changes(table: Rows, index: int) -> bool:
    return _is_numeric(table, index) and len(_texts(table, index)) > 1


def _others(table: Rows, found: Times | None, index: int) -> str:
    others = [
        i for i in range(len(table.names)) if i != index and not times.like(table, i, found) and _changes(table, i)
    ]
    return f"; --column names another: {_labels(table, others)}" if others else ""
