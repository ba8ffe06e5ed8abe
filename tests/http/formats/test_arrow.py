"""Tables that were made to do harm, read as the service reads them: in another process, within bounds."""

import io
import random
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

from tsfm import settings
from tsfm.engine import tasks
from tsfm.engine.admission import Admission
from tsfm.errors import BadRequest, OutOfMemory, QueueFull, TooLarge
from tsfm.http import bodies
from tsfm.http.formats import arrow, tables
from tsfm.http.formats.tables import PARQUET, STREAM
from tsfm.http.reading import Reading
from tsfm.http.v1 import Negotiation

pytestmark = pytest.mark.slow

LIMITS = settings.read("naive", {"max_body_mib": "4", "queue_mib": "8", "max_rows": "1000000"})
MOST = LIMITS.max_body_mib << 20
PEAK_MIB = 400  # the interpreter with its libraries takes 130
MUTATIONS = 600


class Reader:
    """The process that reads bodies, and what it made of one."""

    def __init__(self) -> None:
        self.admission = Admission(LIMITS, lambda: None)
        self.large = bodies.LargeBodies(lambda: LIMITS)

    def read(self, body: bytes, media_type: str) -> object:
        negotiation = Negotiation(media_type, [], {}, MOST, lambda name: None)
        form = tables.form(tasks.find("forecast").operations["forecast"], negotiation)
        reading = Reading(form.operation.steps, form.decode, grows=True)
        with self.admission.enter(len(body)) as slot:
            pending = slot.hold(self.large.read(body, slot, reading))
        return pending.get()

    def peak_mib(self) -> int:
        status = Path(f"/proc/{self.large._reader._process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) >> 10


@pytest.fixture(scope="module")
def reader():
    made = Reader()
    yield made
    made.large.close()
    made.admission.close()


def stream(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    with ipc.new_stream(sink, table.schema, options=ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def file(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(table, sink, **options)
    return sink.getvalue()


def series(rows: int, **more: object) -> pa.Table:
    stamps = np.datetime64("2024-01-01", "s") + np.arange(rows) * np.timedelta64(60, "s")
    return pa.table({"item_id": shared("a", rows), "timestamp": stamps} | more)


def shared(text: str, rows: int) -> pa.DictionaryArray:
    """A column with one text in all its rows."""
    return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int8), [text])


def zeros(rows: int, **more: object) -> pa.Table:
    return series(rows, target=np.zeros(rows), **more)


def small() -> pa.Table:
    return pa.table(
        {
            "item_id": ["a"] * 10 + ["b"] * 10,
            "timestamp": np.tile(np.datetime64("2024-01-01", "s") + np.arange(10) * np.timedelta64(1, "h"), 2),
            "target": np.arange(20.0),
            "kind": pa.array(["x", "y"] * 10).dictionary_encode(),
            "open": [True, None] * 10,
        }
    )


@pytest.mark.parametrize("written", [stream(small()), stream(small(), compression="lz4"), file(small())])
def test_a_table_is_read_whoever_wrote_it(reader, written):
    request, _ = reader.read(written, PARQUET if written.startswith(b"PAR1") else STREAM)
    assert [len(entry.targets[0]) for entry in request.entries] == [10, 10]


def test_what_pandas_writes_is_read(reader):
    frame = small().to_pandas()
    frame = frame[frame.index != 20]  # with an index of its own
    request, _ = reader.read(frame.to_parquet(), PARQUET)
    assert [entry.item_id for entry in request.entries] == ["a", "b"]
    assert [covariate.name for covariate in request.entries[0].known] == ["kind", "open"]


def test_texts_in_views_as_polars_writes_them_are_read(reader):
    table = small()
    for name in ("item_id", "kind"):
        at = table.column_names.index(name)
        table = table.set_column(at, name, table[name].cast(pa.string()).cast(pa.string_view()))
    request, _ = reader.read(stream(table), STREAM)
    assert [entry.item_id for entry in request.entries] == ["a", "b"]


def nested(depth: int) -> bytes:
    kind = pa.int64()
    for _ in range(depth):
        kind = pa.list_(kind)
    return stream(pa.table({"item_id": pa.array([], kind)}))


def many_batches() -> bytes:
    sink = io.BytesIO()
    batch = pa.record_batch(small().slice(0, 0).to_pydict(), schema=small().schema)
    with ipc.new_stream(sink, batch.schema) as writer:
        for _ in range(arrow.MOST_PARTS + 2):
            writer.write_batch(batch)
    return sink.getvalue()


def dense(rows: int) -> bytes:
    """A file of some kilobytes, whatever its rows."""
    encodings = {"timestamp": "DELTA_BINARY_PACKED"}
    return file(zeros(rows), compression="zstd", use_dictionary=["item_id"], column_encoding=encodings)


def columns(count: int) -> pa.Table:
    return pa.table({f"c{at}": [1] for at in range(count)})


def cut_short(body: bytes) -> bytes:
    """A stream whose last buffer is not all there."""
    return body[: len(body) * 3 // 4]


NO_STREAM = "expected an Arrow IPC stream, as Content-Type says, but: "
NO_FILE = "expected a Parquet file, as Content-Type says, but: "
NO_COLUMN = "expected a column of numbers, booleans, texts, times or dates, got "
HOSTILE = {
    "a stream that unpacks to much more": (STREAM, lambda: stream(zeros(400_000), compression="zstd"), "once unpacked"),
    "a file that unpacks to much more": (PARQUET, lambda: dense(400_000), "once unpacked"),
    "more cells than JSON could have": (PARQUET, lambda: dense(3_000_000), r"cells \(rows times columns\)"),
    "many columns": (STREAM, lambda: stream(columns(3_000)), "at most 2100 columns"),
    "many columns in a file": (PARQUET, lambda: file(columns(3_000)), "at most 2100 columns"),
    "many row groups": (PARQUET, lambda: file(zeros(5_000), row_group_size=1), "at most 4096 batches or row groups"),
    "many empty batches": (STREAM, many_batches, "at most 4096 batches or row groups"),
    "lists": (STREAM, lambda: nested(1), f"{NO_COLUMN}list<item: int64>"),
    "lists of lists": (STREAM, lambda: nested(60), f"{NO_COLUMN}list<item: list"),
    "lists in lists without an end": (STREAM, lambda: nested(300), f"{NO_STREAM}Invalid flatbuffers message"),
    "nothing but nulls": (STREAM, lambda: stream(series(9, target=pa.nulls(9))), f"target: {NO_COLUMN}null"),
    "a name twice": (STREAM, lambda: stream(pa.table([[1], [2]], names=["x", "x"])), "x: expected one column of this"),
    "a file in place of a stream": (STREAM, lambda: file(small()), NO_STREAM),
    "the format of files": (STREAM, lambda: b"ARROW1\0\0" + stream(small()), r"got the file format \(Feather\)"),
    "a stream in place of a file": (PARQUET, lambda: stream(small()), NO_FILE),
    "a stream that is cut": (STREAM, lambda: cut_short(stream(small())), NO_STREAM),
    "a file that is cut": (PARQUET, lambda: cut_short(file(small())), NO_FILE),
    "nothing": (PARQUET, lambda: b"", NO_FILE),
    "text that is no UTF-8": (STREAM, lambda: stream(small()).replace(b"a" * 10 + b"b", b"\xff" * 11), "in UTF-8"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_table_made_to_do_harm_is_refused_within_bounds(reader, case):
    media_type, make, sentence = HOSTILE[case]
    body = make()
    assert len(body) < MOST
    with pytest.raises((BadRequest, TooLarge), match=sentence):
        reader.read(body, media_type)
    assert reader.peak_mib() < PEAK_MIB


def test_a_long_text_that_all_rows_share_is_kept_once(reader):
    written = file(zeros(5_000, kind=shared("x" * 20_000, 5_000)))
    assert len(written) < MOST / 10
    request, _ = reader.read(written, PARQUET)
    assert len(request.entries[0].known[0].past) == 5_000
    assert reader.peak_mib() < PEAK_MIB


def test_a_table_counts_as_large_as_it_is_once_read(reader):
    body = stream(zeros(150_000), compression="zstd")
    assert len(body) < 1 << 18
    others = (LIMITS.queue_mib << 20) - (1 << 20)
    slot = reader.admission.enter(others)
    with pytest.raises(QueueFull, match="too many request bodies"):
        reader.read(body, STREAM)
    reader.admission.leave(slot)
    reader.read(body, STREAM)


def spoilt(rng: random.Random, body: bytes) -> bytes:
    """A body with some of its bytes changed, its lengths above all."""
    made = bytearray(body)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at, way = rng.randrange(len(made) - 8), rng.random()
        if way < 0.6:
            made[at] = rng.randrange(256)
        elif way < 0.8:
            struct.pack_into("<i", made, at, rng.choice([-1, 1 << 20, 2**31 - 1, -(2**31)]))
        else:
            del made[at : at + rng.randrange(1, 9)]
    return bytes(made)


def test_whatever_bytes_are_changed_the_process_goes_on_and_nothing_is_our_failure(reader):
    rng = random.Random(7)
    reader.read(stream(small()), STREAM)
    process = reader.large._reader._process.pid
    written = [
        *((stream(small(), compression=packed), STREAM) for packed in (None, "zstd")),
        *((file(small(), compression=packed, use_dictionary=packed != "gzip"), PARQUET) for packed in ("none", "gzip")),
    ]
    refused = 0
    for _ in range(MUTATIONS):
        body, media_type = rng.choice(written)
        try:
            reader.read(spoilt(rng, body), media_type)
        except (BadRequest, TooLarge, OutOfMemory):
            refused += 1
    assert refused > MUTATIONS / 2
    assert reader.large._reader._process.pid == process
    assert reader.peak_mib() < PEAK_MIB
