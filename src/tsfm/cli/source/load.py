"""Reads a source into one table of texts: CSV, workbook, Parquet, standard input, or a query."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tsfm.cli.source import parquet, statement, workbook
from tsfm.table import column, text
from tsfm.table.column import Options
from tsfm.table.rows import Rows


@dataclass(frozen=True)
class Source:
    """A table and how to read it.

    Attributes:
        name: as sentences name it.
        options: those of the user; where cells have types, their decimal sign is known.
    """

    name: str
    rows: Rows
    options: Options


def file(path: str, options: Options, sheet: str | None) -> Source:
    """The table in a file; ``-`` is standard input. The first bytes tell its kind, whatever its name is.

    Raises:
        UsageError: it cannot be read, or can be read in two ways.
        ConfigError: the package that reads this kind is not installed.
    """
    name = column.name_of(path)
    data = text.load(path)
    typed = replace(options, decimal=options.decimal or ".")
    if parquet.matches(data):
        return Source(name, parquet.read(name, data), typed)
    if workbook.matches(data):
        return Source(name, workbook.read(name, data, sheet, options.header), typed)
    rows, encoding = column.parse(name, data, options)
    return Source(name, replace(rows, notes=[encoding, *rows.notes] if encoding else rows.notes), options)


def query(sql: str, options: Options) -> Source:
    """The result of a SELECT statement.

    Raises:
        UsageError, ConfigError: it is no SELECT, or [tdengine] is wrong.
        DatabaseError: the database refuses it or is out of reach.
    """
    return Source("--sql", statement.read(sql), replace(options, decimal=options.decimal or "."))
