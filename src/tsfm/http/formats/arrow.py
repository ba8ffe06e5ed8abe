"""Arrow streams and Parquet files in bodies, within bounds of memory; pyarrow is known to this room alone.

Whoever sends a body may have made it to do harm: only flat columns of known types are read, every buffer is checked
before it is used, and what a body unpacks to is bounded. A crash of the library itself ends only the process in which
``http.bodies`` reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
from pyarrow import ipc, parquet

from tsfm.errors import BadRequest, TooLarge

# A cell takes at least this part of a byte limit, as the shortest number and its comma do in JSON.
CELL_BYTES = 2
# Lengths of strings and lists in Parquet's own description of a file.
MOST_IN_FOOTER = 1 << 20
ROWS_AT_ONCE = 1 << 16
# Columns, and batches or row groups; each costs time however small it is.
MOST_COLUMNS, MOST_PARTS = 2_100, 4_096

# Everything is read on the calling thread, and memory goes back to the system at once.
pa.set_cpu_count(1)
pa.set_io_thread_count(1)
pa.set_memory_pool(pa.system_memory_pool())


def read(body: bytes, in_parquet: bool, most: int) -> pa.Table:
    """The table in a body, a Parquet file or else an Arrow stream.

    Args:
        most: bytes that it may take unpacked.

    Raises:
        BadRequest: a column has a type that is not read.
        TooLarge: it takes more than ``most`` bytes.
        pa.ArrowException, UnicodeDecodeError, OSError: it cannot be read, see ``refused``.
    """
    schema, batches = (_parquet if in_parquet else _stream)(body, most)
    table = pa.Table.from_batches(list(_bounded(schema, batches, most)), schema)
    return table.cast(pa.schema([pa.field(field.name, _without_view(field.type)) for field in schema]))


@contextmanager
def refused(in_parquet: bool) -> Iterator[None]:
    """What pyarrow says against a table becomes the sentence that refuses it."""
    name = "a Parquet file" if in_parquet else "an Arrow IPC stream"
    try:
        yield
    except UnicodeDecodeError as error:
        raise BadRequest(f"body: expected {name} with texts in UTF-8, but: {error.reason}") from None
    except (pa.ArrowException, ValueError, OSError) as error:
        if isinstance(error, MemoryError):  # as ArrowMemoryError is
            raise
        raise BadRequest(f"body: expected {name}, as Content-Type says, but: {first_line(error)}") from None


def write(table: pa.Table, in_parquet: bool) -> bytes:
    """The body for a table, a Parquet file or else an Arrow stream."""
    if in_parquet:
        growing = pa.BufferOutputStream()
        parquet.write_table(table, growing)
        return bytes(growing.getvalue())
    # Measured first and written once: a buffer that grows is copied each time.
    size = pa.MockOutputStream()
    _write_stream(table, size)
    body = pa.allocate_buffer(size.size())
    _write_stream(table, pa.FixedSizeBufferWriter(body))
    return bytes(body)


def _write_stream(table: pa.Table, sink: pa.NativeFile) -> None:
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def is_number(kind: pa.DataType) -> bool:
    """Values become float64."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_text(kind: pa.DataType) -> bool:
    """Values are categories."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def first_line(error: Exception) -> str:
    """The reason that pyarrow gives, shortened."""
    return str(error).partition("\n")[0][:200]


def _stream(body: bytes, _: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    if body.startswith(b"ARROW1"):
        raise BadRequest("body: expected an Arrow IPC stream, got the file format (Feather); write a stream")
    reader = ipc.open_stream(pa.py_buffer(body))
    _check(reader.schema)
    return reader.schema, iter(reader)


def _parquet(body: bytes, most: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    bounds = {"thrift_string_size_limit": MOST_IN_FOOTER, "thrift_container_size_limit": MOST_IN_FOOTER}
    file = parquet.ParquetFile(pa.BufferReader(body), **bounds)
    _check(file.schema_arrow)
    _check_cells(file.metadata.num_rows, len(file.schema_arrow), most)
    _check_parts(file.num_row_groups)
    texts = [field.name for field in file.schema_arrow if is_text(field.type)]
    if texts:  # not repeated for each row: a page of a few bytes can stand for millions of long texts
        file = parquet.ParquetFile(pa.BufferReader(body), read_dictionary=texts, **bounds)
    return file.schema_arrow, file.iter_batches(ROWS_AT_ONCE, use_threads=False)


def _bounded(schema: pa.Schema, batches: Iterator[pa.RecordBatch], most: int) -> Iterator[pa.RecordBatch]:
    rows, before = 0, pa.total_allocated_bytes()
    for count, batch in enumerate(batches):
        _check_parts(count)
        _validate(batch)
        rows += batch.num_rows
        _check_cells(rows, len(schema), most)
        # What was unpacked; a buffer that is used where it is in the body takes nothing.
        if pa.total_allocated_bytes() - before > most:
            raise TooLarge(f"body: expected at most {most >> 20} MiB once unpacked, got more")
        yield batch


def _validate(batch: pa.RecordBatch) -> None:
    """Refuse a batch whose buffers do not hold what it says; nothing beyond them is read afterwards.

    Whether texts are UTF-8 is found out where they become Python's, once for each item.
    """
    for column in batch.columns:
        texts = column.dictionary if pa.types.is_dictionary(column.type) else column
        plain = pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)
        column.validate(full=not plain or texts is not column)
        if plain and texts is column and len(texts):
            width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
            ends = np.frombuffer(texts.buffers()[1], width, texts.offset + len(texts) + 1)[texts.offset :]
            if np.diff(ends).min() < 0:
                raise pa.ArrowInvalid("offsets of texts are not in order")


def _check_parts(count: int) -> None:
    if count > MOST_PARTS:
        raise TooLarge(f"body: expected at most {MOST_PARTS} batches or row groups, got more: write larger ones")


def _check_cells(rows: int, columns: int, most: int) -> None:
    if rows * columns * CELL_BYTES > most:
        cells = most // CELL_BYTES
        raise TooLarge(f"body: expected at most {cells} cells (rows times columns), got {rows} rows of {columns}")


def _check(schema: pa.Schema) -> None:
    if len(schema) > MOST_COLUMNS:
        raise TooLarge(f"body: expected at most {MOST_COLUMNS} columns, got {len(schema)}")
    seen: set[str] = set()
    for field in schema:
        if not _flat(field.type):
            raise BadRequest(
                f"{field.name[:40]}: expected a column of numbers, booleans, texts, times or dates, got {_shown(field)}"
            )
        if field.name in seen:
            raise BadRequest(f"{field.name[:40]}: expected one column of this name, got several")
        seen.add(field.name)


def _flat(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type) or pa.types.is_integer(kind.value_type)
    known = (is_number, is_text, pa.types.is_boolean, pa.types.is_timestamp, pa.types.is_date)
    return any(is_kind(kind) for is_kind in known)


def _without_view(kind: pa.DataType) -> pa.DataType:
    # Polars writes this type, and not all of pyarrow's functions know it.
    return pa.large_string() if pa.types.is_string_view(kind) else kind


def _shown(field: pa.Field) -> str:
    return str(field.type)[:80]
