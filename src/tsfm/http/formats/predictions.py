"""The predictions of an answer as a long table: ``item_id``, ``timestamp``, ``mean``, and a column for each level.

A series that was refused or failed has one row, with the sentence in the column ``error``, which is there only then.
A target of several variates has a row for each variate and time, with its name in ``target_name``. What the answer
says beside its predictions is in the schema's metadata, as JSON under the key ``taos-tsfm``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tsfm.engine.fields import encode, shown
from tsfm.engine.tasks import Fields
from tsfm.http.formats.long import Source

BESIDE = ("item_id", "start", "timestamps", "warnings", "error", "cutoff")
"""Fields of a prediction that are no rows of numbers."""
SCORES = ("season_length", "metrics", "seasonal_naive")
METADATA = b"taos-tsfm"
Prediction = Mapping[str, Any]
MISSING = np.full(1, np.nan)


def table(answer: Fields, source: Source | None = None) -> pa.Table:
    """The table of an answer.

    Args:
        source: what the table of the request says; None: the request was no table.
    """
    series = cast(Sequence[Prediction], answer["predictions"])
    predictions, of_series = _windows(series)
    names = next((_rows_of(prediction) for prediction in predictions if "error" not in prediction), ())
    failed = np.array(["error" in prediction for prediction in predictions])
    variates = [
        1 if bad else _variates(prediction[names[0]]) for prediction, bad in zip(predictions, failed, strict=True)
    ]
    steps = [len(row) for row in _rows(predictions, names[0])] if names else [1] * len(predictions)
    of_row = np.repeat(np.arange(len(predictions)), variates)  # the prediction of each row of numbers
    of_cell = pa.array(np.repeat(of_row, steps), pa.int32())
    missing = np.repeat(failed[of_row], steps) if failed.any() else None
    columns = {"item_id": _ids(series, source, pa.array(of_series, pa.int32()).take(of_cell))}
    if any("windows" in one for one in series):
        columns["cutoff"] = pa.array([prediction.get("cutoff") for prediction in predictions], pa.int64()).take(of_cell)
    columns["timestamp"] = _times(predictions, of_row, steps, source)
    if max(variates) > 1:
        columns["target_name"] = _target_names(variates, steps, failed, source)
    for name in names:
        columns[name] = pa.array(np.concatenate(list(_rows(predictions, name))), mask=missing)
    if missing is not None:
        columns["error"] = pa.array([prediction.get("error") for prediction in predictions], pa.string()).take(of_cell)
    made = pa.table(columns)
    metadata = _beside(answer, series)
    return made.replace_schema_metadata({METADATA: encode(metadata)}) if metadata else made


def _windows(series: Sequence[Prediction]) -> tuple[list[Prediction], list[int]]:
    """The predictions of all series, where those of a cross-validation have one for each window; and whose they are."""
    owned = [(window, at) for at, one in enumerate(series) for window in one.get("windows", [one])]
    return [window for window, _ in owned], [at for _, at in owned]


def _rows_of(prediction: Prediction) -> tuple[str, ...]:
    return tuple(name for name in prediction if name not in BESIDE)


def _variates(value: Any) -> int:
    """The number of rows in one value of a prediction, which is a row or a list of rows."""
    return len(value) if isinstance(value, list) and len(value) > 0 and not isinstance(value[0], int | float) else 1


def _rows(predictions: Sequence[Prediction], name: str) -> Iterator[Any]:
    """The rows of one name, one for each variate; one missing value for a series that failed."""
    for prediction in predictions:
        value = prediction.get(name, MISSING)
        if _variates(value) == 1 and not isinstance(value[0], list | np.ndarray):
            yield value
        else:
            yield from value


def _ids(predictions: Sequence[Prediction], source: Source | None, of_cell: pa.Array) -> pa.Array:
    if source:
        ids = source.ids
        return pa.DictionaryArray.from_arrays(of_cell, ids) if source.coded else ids.take(of_cell)
    given = [prediction.get("item_id") for prediction in predictions]
    if all(item is None or isinstance(item, int) for item in given):
        return pa.array(given, pa.int64()).take(of_cell)
    return pa.array([item if item is None else str(item) for item in given], pa.string()).take(of_cell)


def _times(
    predictions: Sequence[Prediction],
    of_row: NDArray[np.int64],
    steps: Sequence[int],
    source: Source | None,
) -> pa.Array:
    texts = [predictions[at].get("timestamps") for at in of_row.tolist()]
    if source is None:
        none: list[str | None] = [None]
        listed = chain.from_iterable(own or none * count for own, count in zip(texts, steps, strict=True))
        return _parsed(pa.array(list(listed), pa.string()))
    # Series that begin and end together share one list.
    clock, shared = source.clock, {id(own): own for own in texts if own}
    written = {key: clock.write(np.array(own, "M8[us]")) for key, own in shared.items()}
    rows = zip(texts, steps, strict=True)
    return pa.concat_arrays([written[id(own)] if own else pa.nulls(count, clock.kind) for own, count in rows])


def _parsed(texts: pa.Array) -> pa.Array:
    """Times without a zone, or in UTC where they have one; texts where only some have one."""
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return texts.cast(kind)
        except pa.ArrowInvalid:
            continue
    return texts


def _target_names(
    variates: Sequence[int], steps: Sequence[int], failed: NDArray[np.bool_], source: Source | None
) -> pa.Array:
    names: list[str | None] = []
    for count, bad in zip(variates, failed, strict=True):
        names += [None] if bad else source.targets[:count] if source else map(str, range(count))
    return pa.array(names, pa.string()).take(pa.array(np.repeat(np.arange(len(names)), steps)))


def _beside(answer: Fields, series: Sequence[Prediction]) -> Fields:
    """What the answer says beside its predictions, with the warnings and scores of each series."""
    metadata = {name: value for name, value in answer.items() if name != "predictions"}
    warnings = [f"item {shown(one.get('item_id'))}: {warning}" for one in series for warning in one.get("warnings", ())]
    if warnings:
        metadata["warnings"] = [*cast(list[str], metadata.get("warnings", [])), *warnings]
    scored = [{name: one[name] for name in ("item_id", *SCORES) if name in one} for one in series if "windows" in one]
    return metadata | ({"series": scored} if scored else {})
