"""Writes forecasts into a file; its suffix tells the format."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tsfm.cli.output import page, picture
from tsfm.cli.prediction import Failure, Prediction
from tsfm.cli.source import clock, parquet
from tsfm.errors import UsageError

Results = Sequence[Prediction | Failure]


def write(path: Path, results: Results) -> None:
    """Raises:
    UsageError: it cannot be written.
    ConfigError: the package for this format is not installed.
    """
    make = _MAKERS[path.suffix.lower()]
    data = make(path, results)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(f"--output: {path} cannot be written: {error.strerror or error}") from None


def fields(results: Results) -> dict[str, object]:
    """The predictions as /v1/forecast gives them, with the times of the steps."""
    return {"predictions": [_entry(one) for one in results]}


def _entry(result: Prediction | Failure) -> dict[str, object]:
    if isinstance(result, Failure):
        return {"item_id": result.item_id, "error": result.reason}
    times = {"timestamps": result.series.ahead} if result.series.ahead else {}
    quantiles = {f"{level:g}": values for level, values in result.quantiles.items()}
    return {"item_id": result.series.item_id, **times, "mean": result.mean, **quantiles}


def _rows(results: Results) -> Iterator[list[object]]:
    """A long table, its names first: one row for each step of each series. A series without a forecast has no rows."""
    found = [one for one in results if isinstance(one, Prediction)]
    levels = sorted({level for one in found for level in one.quantiles})
    timed = any(one.series.ahead for one in found)
    yield ["item_id", "timestamp" if timed else "step", "mean", *(f"{level:g}" for level in levels)]
    for one in found:
        columns = [one.quantiles[level] for level in levels]
        steps = one.steps if timed else range(1, len(one.mean) + 1)
        for step, mean, *values in zip(steps, one.mean, *columns, strict=True):
            yield [one.series.item_id, step, mean, *values]


def _csv(path: Path, results: Results) -> bytes:
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(_rows(results))
    return written.getvalue().encode()


def _json(path: Path, results: Results) -> bytes:
    return json.dumps(fields(results), ensure_ascii=False, indent=1).encode() + b"\n"


def _parquet(path: Path, results: Results) -> bytes:
    names, *rows = _rows(results)
    if not rows:
        raise UsageError(f"--output: {path}: there is no forecast to write")
    columns: list[Sequence[object]] = list(zip(*rows, strict=True))
    if names[1] == "timestamp":
        columns[1] = clock.moments([str(text) for text in columns[1]])
    return parquet.write(str(path), [str(name) for name in names], columns)


def _png(path: Path, results: Results) -> bytes:
    return picture.png([one for one in results if isinstance(one, Prediction)])


def _html(path: Path, results: Results) -> bytes:
    return page.html(results).encode()


_MAKERS: dict[str, Callable[[Path, Results], bytes]] = {
    ".csv": _csv,
    ".json": _json,
    ".parquet": _parquet,
    ".png": _png,
    ".html": _html,
}
