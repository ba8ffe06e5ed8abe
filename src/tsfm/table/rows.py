"""Splits text into rows of one width: separator, header, comments, and line numbers as an editor counts them.

Python's csv splits the rows, because pandas' reader fills short rows, skips surplus cells, and does not know in which
line of the file a row begins.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise

from tsfm.errors import UsageError
from tsfm.table import cells

SEPARATORS = {"\t": "a tab", ";": "';'", "|": "'|'", ",": "','"}
ALONE = "\x1f"  # the unit separator: in no file that has a single column
NAMES = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "none": ALONE}


class QuoteError(UsageError):
    """A quoted cell without an end, or with text after its end."""


@dataclass(frozen=True)
class Rows:
    """A table of texts.

    Attributes:
        names: one for each column; numbers as text where there is no header.
        cells: the rows, each as long as ``names``.
        lines: where each row begins in the file, 1 for the first line.
        has_header: the names are the file's own.
        separator: between the cells; ALONE where each line is one cell.
        notes: what a person should know.
    """

    names: list[str]
    cells: list[list[str]]
    lines: list[int]
    has_header: bool
    separator: str
    notes: list[str] = field(default_factory=list)

    def label(self, index: int) -> str:
        """The column's name, with its number if another column has the same name."""
        name = self.names[index]
        return f"{index + 1} ({name})" if self.names.count(name) > 1 else name

    def column(self, index: int) -> list[str]:
        return [row[index] for row in self.cells]


def separator(word: str) -> str:
    """The separator that --separator names: one character, or its name.

    Raises:
        ValueError
    """
    chosen = NAMES.get(word.lower(), "\t" if word == "\\t" else word)
    if len(chosen) != 1 or chosen in '"\r\n' or chosen.isalnum():
        raise ValueError(f"expected one character or {', '.join(NAMES)}, got {word!r}")
    return chosen


def read(file: str, text: str, given: str | None, decimal: str | None, header: bool | None) -> Rows:
    """The table in a text.

    Args:
        given: the separator; None: detected.
        decimal: the decimal sign if it is known: a decimal comma is then no separator.
        header: whether the first row contains names; None: detected.

    Raises:
        UsageError: no rows, rows of different widths, a quote that does not end.
    """
    text, declared = _begin(text)
    chosen = given or declared or _separator(text, decimal)
    try:
        rows = _split(text, chosen)
    except QuoteError as error:
        raise UsageError(f"{file}: {error}") from None
    notes = []
    if middle := [line for line, row in rows if _is_comment(row)]:
        rows = [(line, row) for line, row in rows if not _is_comment(row)]
        notes.append(f"lines left out as comments: {len(middle)}, the first is line {middle[0]}")
    while rows and len(rows[-1][1]) > 1 and not any(cell.strip() for cell in rows[-1][1]):
        rows.pop()
    if not rows:
        raise UsageError(f"{file}: expected a header line and rows, found none")
    _one_width(file, rows, chosen)
    named = _has_header([row for _, row in rows]) if header is None else header
    if not named and header is None:
        notes.append(f"line {rows[0][0]} is taken as a row, no header; --header says otherwise")
    spaced = ", " in _line(text, rows[0][0]) and ", " not in _line(text, rows[-1][0])
    if given is None and declared is None and chosen == "," and (spaced or not named):
        _no_hidden_decimals(file, rows[1:] if named else rows)
    if chosen == ALONE:
        notes += _blank_lines(text, rows[-1][0])
    first = [_name(cell) for cell in rows[0][1]]
    names = [(named and name) or str(i) for i, name in enumerate(first, 1)]
    body = rows[1:] if named else rows
    if not body:
        raise UsageError(f"{file}: expected a header line and rows, found none")
    return Rows(names, [row for _, row in body], [line for line, _ in body], named, chosen, notes)


def _begin(text: str) -> tuple[str, str | None]:
    """Replace comments and Excel's line ``sep=;`` at the start by empty lines; return the text and that separator."""
    declared, stream = None, io.StringIO(text, newline="")
    skipped: list[str] = []
    for line in stream:
        if found := re.fullmatch(r'"?sep=(.)"?\s*', line, re.IGNORECASE):
            declared = found[1]
        elif line.strip() and not _is_comment([line.partition(",")[0]]):
            return "".join(skipped) + line + stream.read(), declared
        skipped.append(line[len(line.rstrip("\r\n")) :])
    return "", declared


def _split(text: str, chosen: str) -> list[tuple[int, list[str]]]:
    """Every row that is not empty, with the number of its first line."""
    lines = io.StringIO(text, newline="").readlines()
    reader = csv.reader(lines, delimiter=chosen, skipinitialspace=True, strict=True)
    rows, begins = [], 1
    while (row := _next(reader, begins)) is not None:
        # In a single column pandas writes "" for a gap: that is no empty line.
        if row and (row != [""] or (chosen == ALONE and lines[begins - 1].strip())):
            rows.append((begins, row))
        begins = reader.line_num + 1
    return rows


def _next(reader: Iterator[list[str]], line: int) -> list[str] | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        raise QuoteError(f"line {line}: a quoted cell has no right end: {error}") from None


def _separator(text: str, decimal: str | None) -> str:
    """The separator that gives all rows one width; else one that shows best how the rows differ."""
    ragged = []
    for candidate in SEPARATORS:
        if candidate in text and candidate != decimal:
            try:
                widths = [len(row) for _, row in _split(text, candidate) if not _is_comment(row)]
            except QuoteError:
                ragged.append((False, 0, candidate))
                continue
            if len(set(widths)) == 1 and widths[0] > 1:
                return candidate
            if max(widths, default=1) > 1:
                ragged.append((widths[0] > 1, sum(width > 1 for width in widths), candidate))
    # If the decimal sign is known, a comma in a single column separates thousands.
    return max(ragged)[2] if ragged and (decimal is None or max(ragged)[0]) else ALONE


def _is_comment(row: list[str]) -> bool:
    return row[:1] != [] and row[0].startswith("#") and not cells.is_gap(row[0])


def _one_width(file: str, rows: list[tuple[int, list[str]]], chosen: str) -> None:
    line, first = rows[0]
    for other, row in rows:
        if len(row) != len(first):
            by = SEPARATORS.get(chosen, repr(chosen))
            raise UsageError(
                f"{file}: line {other} has {_count(row)}, the first row (line {line}) has {_count(first)}, separated "
                f"by {by}; a decimal comma or a thousands sign? --decimal says which; another separator? --separator"
            )


def _count(row: list[str]) -> str:
    return f"{len(row)} cell" + ("s" if len(row) > 1 else "")


def _has_header(rows: list[list[str]]) -> bool:
    """A header has text above numbers or times; a first row of numbers and times is no header."""
    first, body = rows[0], rows[1:50]
    kinds = [cells.kind(cell) for cell in first]
    if not any(kind in (cells.NUMBER, cells.TIME) for kind in kinds):
        return cells.TEXT in kinds
    for index, kind in enumerate(kinds):
        if kind == cells.TEXT and any(cells.kind(row[index]) in (cells.NUMBER, cells.TIME) for row in body):
            return True
    return False


def _no_hidden_decimals(file: str, rows: list[tuple[int, list[str]]]) -> None:
    """Below no header, or one such as ``Load, MW``, 1,5 is one number or two: refuse whole numbers side by side."""
    whole = [all(re.fullmatch(r"[+-]?\d+", row[i].strip()) for _, row in rows) for i in range(len(rows[0][1]))]
    if any(left and right for left, right in pairwise(whole)):
        line, row = rows[0]
        raise UsageError(
            f"{file}: line {line}, {','.join(row)[:40]!r}, may hold decimal commas or columns of whole numbers; "
            "say --decimal , or --separator , (or --header where these are names)"
        )


def _name(cell: str) -> str:
    """A name on one line, without control characters for a terminal."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in cell).split())


def _line(text: str, number: int) -> str:
    return next(islice(io.StringIO(text, newline=""), number - 1, None), "")


def _blank_lines(text: str, last: int) -> list[str]:
    lines = io.StringIO(text, newline="")
    blank = [number for number, line in enumerate(lines, 1) if not line.strip() and number < last]
    inner = [number for number in blank if number > 3]
    return [f"empty lines are left out, the first is line {inner[0]}; NULL marks a gap"] if inner else []
