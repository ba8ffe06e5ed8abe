"""A million points read and a million numbers written, as an Arrow stream over as JSON.

Reading ends with the checked request, writing begins with the fields of an answer: the same for both. Names are
dictionary-encoded, as pandas' categories and databases send them; ``api_arrow_speedup_texts`` is the same with a text
in each row.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import numpy as np
import orjson
import pyarrow as pa

from tsfm import settings
from tsfm.engine.tasks import Fields
from tsfm.engine.v1 import forecast
from tsfm.http.encoding import pieces
from tsfm.http.formats.tables import SOURCE, STREAM, TableDecoder, TableEncoder, WithSource
from tsfm.http.reading import decode_json

SERIES, POINTS, STEPS = 100, 10_000, 2_500
LEVELS = [0.1, 0.5, 0.9]
MOST = 64 << 20
ROUNDS = 15


def run(rounds: int = ROUNDS) -> dict[str, float]:
    """The least processor time of one thread, in turns, so that other load on the machine matters little."""
    frame = table()
    coded = frame.set_column(0, "item_id", frame["item_id"].dictionary_encode())
    ways = {"arrow": Way(coded), "texts": Way(frame), "json": Json(frame)}
    measured: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            measured[name].append(way.seconds())
    found = {name: min(times) for name, times in measured.items()}
    return {
        "api_arrow_speedup": found["json"] / found["arrow"],
        "api_arrow_speedup_texts": found["json"] / found["texts"],
        "api_arrow_ms": found["arrow"] * 1000,
        "api_json_ms": found["json"] * 1000,
    }


def table() -> pa.Table:
    """Long, one row for each point."""
    rng = np.random.default_rng(3)
    stamps = np.datetime64("2024-01-01", "us") + np.arange(POINTS) * np.timedelta64(60, "s")
    return pa.table(
        {
            "item_id": np.repeat([f"pump-{at:04d}" for at in range(SERIES)], POINTS),
            "timestamp": np.tile(stamps, SERIES),
            "target": rng.normal(size=SERIES * POINTS),
        }
    )


def answer(names: list[str]) -> Fields:
    """The fields of an answer with as many numbers."""
    rng = np.random.default_rng(4)
    times = [str(time) for time in np.datetime64("2024-02-01", "s") + np.arange(STEPS) * np.timedelta64(60, "s")]
    rows = ["mean", *map(str, LEVELS)]
    return {
        "predictions": [
            {"item_id": name, "start": times[0], "timestamps": times} | {row: rng.normal(size=STEPS) for row in rows}
            for name in names
        ]
    }


class Way:
    """A table in, a table out."""

    def __init__(self, frame: pa.Table) -> None:
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, frame.schema) as writer:
            writer.write_table(frame)
        self.body = sink.getvalue()
        self.answer = answer(frame["item_id"].unique().to_pylist())
        self.limits = settings.read("naive", {"max_horizon": "1000"})
        query = {"quantile_levels": [",".join(map(str, LEVELS))]}
        self.read: Callable[[bytes], Fields] = TableDecoder(STREAM, query, MOST, back=True)
        self.steps = WithSource(lambda: forecast)()

    def seconds(self) -> float:
        began = time.thread_time()
        _, source = self.steps.read(self.read(self.body), self.limits)
        seconds = time.thread_time() - began
        fields = self.answer | {SOURCE: source}
        began = time.thread_time()
        TableEncoder(STREAM)(fields)
        return seconds + time.thread_time() - began


class Json:
    """The same points and numbers as JSON."""

    def __init__(self, frame: pa.Table) -> None:
        target = frame["target"].to_numpy().reshape(SERIES, POINTS)
        names = frame["item_id"].unique().to_pylist()
        inputs = [
            {"item_id": name, "start": "2024-01-01T00:00:00", "target": row.tolist()}
            for name, row in zip(names, target, strict=True)
        ]
        self.body = orjson.dumps({"inputs": inputs, "parameters": {"quantile_levels": LEVELS, "freq": "min"}})
        self.answer = answer(names)
        self.limits = settings.read("naive", {})

    def seconds(self) -> float:
        began = time.thread_time()
        forecast.read(decode_json(self.body), self.limits)
        pieces(self.answer)
        return time.thread_time() - began
