"""Reads a Parquet file with pyarrow, which the package taos-tsfm-arrow brings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from types import ModuleType

from tsfm.cli.source import typed
from tsfm.errors import ConfigError, UsageError
from tsfm.table.rows import Rows

MAGIC = b"PAR1"


def matches(data: bytes) -> bool:
    return data.startswith(MAGIC)


def library(file: str) -> tuple[ModuleType, ModuleType]:
    """pyarrow and its module for Parquet.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        missing = "pyarrow, which reads and writes Parquet, is missing: install taos-tsfm-arrow"
        raise ConfigError(f"{file}: {missing}") from None
    return pyarrow, pyarrow.parquet


def read(file: str, data: bytes) -> Rows:
    """The table in a file; a line is a row, and the names are line 1.

    Raises:
        UsageError: it is damaged, or a column holds lists or records.
        ConfigError: pyarrow is not installed.
    """
    arrow, parquet = library(file)
    try:
        table = parquet.ParquetFile(arrow.BufferReader(data)).read()
    except (arrow.ArrowException, OSError) as error:
        raise UsageError(f"{file}: is a damaged Parquet file: {str(error).splitlines()[0]}") from None
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        try:
            texts = column.cast(arrow.string()).to_pylist()
        except (arrow.ArrowException, NotImplementedError):
            raise UsageError(f"{file}: column {name}: expected numbers, times or texts, got {column.type}") from None
        columns.append(map(typed.text, texts))
    return typed.table(file, chain([table.column_names], zip(*columns, strict=True)), header=True)


def write(file: str, names: Sequence[str], columns: Sequence[Sequence[object]]) -> bytes:
    """A Parquet file of plain columns.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    arrow, parquet = library(file)
    written = arrow.BufferOutputStream()
    parquet.write_table(arrow.table([arrow.array(column) for column in columns], list(names)), written)
    data: bytes = written.getvalue().to_pybytes()
    return data
