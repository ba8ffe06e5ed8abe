"""The files of a batch job: a long table that is read in portions of whole series, and written from parts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from tsfm.errors import UsageError
from tsfm.http.formats.long import ITEM

ROWS_AT_ONCE = 1 << 16


def portions(source: Path, series: int) -> Iterator[pa.Table]:
    """Tables of so many whole series each, in the order of the file; the last ones may be smaller.

    Raises:
        UsageError: the file cannot be read, has no column ``item_id``, or the rows of a series are not together.
    """
    rest: pa.Table | None = None
    done: set[object] = set()
    for batch in _batches(source):
        table = pa.table(batch) if rest is None else pa.concat_tables([rest, pa.table(batch)])
        starts = _starts(table, source)
        # The last series may go on in the next rows.
        for first in range(0, len(starts) - 1 - (len(starts) - 1) % series, series):
            yield _portion(table, starts, first, first + series, done, source)
        used = len(starts) - 1 - (len(starts) - 1) % series
        rest = table.slice(starts[used])
    if rest is not None and rest.num_rows:
        starts = _starts(rest, source)
        for first in range(0, len(starts), series):
            yield _portion(rest, starts, first, min(first + series, len(starts)), done, source)


def rows(source: Path) -> int | None:
    """The number of rows, if the file tells it."""
    return int(parquet.read_metadata(source).num_rows) if source.suffix == ".parquet" else None


def join(parts: Sequence[Path], target: Path) -> None:
    """One file of all parts, in their order; it is there completely or not at all."""
    schema = pa.unify_schemas([parquet.read_schema(part).remove_metadata() for part in parts])
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    kind = parquet.ParquetWriter if target.suffix == ".parquet" else csv.CSVWriter
    try:
        with kind(draft, schema) as writer:
            for part in parts:
                writer.write_table(_with(parquet.read_table(part), schema))
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def _with(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with all columns of the schema; where every series was answered, there is no column ``error``."""
    for field in schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(schema.names).cast(schema)


def _batches(source: Path) -> Iterator[pa.RecordBatch]:
    try:
        if source.suffix == ".parquet":
            yield from parquet.ParquetFile(source).iter_batches(ROWS_AT_ONCE)
        else:
            yield from csv.open_csv(source)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{source}: cannot be read: {str(error).splitlines()[0]}") from None


def _starts(table: pa.Table, source: Path) -> list[int]:
    """The rows at which a series begins."""
    if ITEM not in table.column_names:
        there = ", ".join(table.column_names[:10])
        raise UsageError(f"{source}: expected a column {ITEM}, got {there}")
    ids = table[ITEM].combine_chunks()
    changes = pc.indices_nonzero(pc.fill_null(pc.not_equal(ids[1:], ids[:-1]), True))
    return [0, *(row + 1 for row in changes.to_pylist())]


def _portion(table: pa.Table, starts: list[int], first: int, last: int, done: set[object], source: Path) -> pa.Table:
    names = [table[ITEM][row].as_py() for row in starts[first:last]]
    again = next((name for at, name in enumerate(names) if name in done or name in names[:at]), None)
    if again is not None:
        raise UsageError(f"{source}: the rows of {ITEM} {again!r} are not together: sort the file by {ITEM} and time")
    done.update(names)
    end = starts[last] if last < len(starts) else table.num_rows
    return table.slice(starts[first], end - starts[first]).combine_chunks()
