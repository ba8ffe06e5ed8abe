"""A long table, one row for each time of each series, as the fields of a request under /v1.

Columns: ``item_id``, ``timestamp``, ``target``, and covariates under their own names. The request's parameters are in
the query of its URL, which every client and ``curl`` can write.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tsfm.engine.fields import shown, whole
from tsfm.engine.tasks import Fields
from tsfm.errors import BadRequest
from tsfm.http.formats import arrow
from tsfm.http.formats.clock import Clock, rhythm

ITEM, TIME, TARGET = "item_id", "timestamp", "target"
Query = Mapping[str, Sequence[str]]
"""The parameters of a URL's query: all values of each name."""
# What the query says of the table itself; the other names are those of ``parameters``.
TARGETS, KNOWN = "target", "future_covariates"
LISTS = ("quantile_levels",)
INDEX = re.compile(r"__index_level_\d+__|__null_dask_index__")  # columns that data frame libraries add
MOST_STEPS = 1 << 20
Values = NDArray[np.float64 | np.int64 | np.uint64] | list[object]


@dataclass(frozen=True)
class Source:
    """What the answer to a table is made with.

    Attributes:
        ids: the name of each series, in the type of the table's column.
        coded: that column is dictionary-encoded.
        targets: the names of the target's columns.
    """

    ids: pa.Array
    coded: bool
    clock: Clock
    targets: tuple[str, ...]


def fields(table: pa.Table, query: Query) -> tuple[Fields, Source]:
    """The fields of a request, with arrays in place of lists, and what its answer is made with.

    Raises:
        BadRequest: one sentence that names the column, what was expected and what came.
    """
    targets = tuple(_names(query, TARGETS) or [TARGET])
    known = _names(query, KNOWN)
    parameters: Fields = {name: _value(name, texts) for name, texts in query.items() if name not in (TARGETS, KNOWN)}
    _check_columns(table, [ITEM, TIME, *targets, *known])
    table, bounds, ids = _by_item(table)
    freq = parameters.get("freq")
    times = rhythm(table[TIME], bounds, ids, freq if isinstance(freq, str) else None)
    parameters["freq"] = freq or times.freq.text
    ahead = whole("prediction_length", parameters.get("prediction_length"), 1, MOST_STEPS) if known else 0
    ends = bounds[1:] - ahead
    _check_ahead(table, targets, bounds, ends, ids)
    columns = {
        name: _values(name, table[name], name in targets)
        for name in table.column_names
        if name not in (ITEM, TIME) and not INDEX.fullmatch(name)
    }
    covariates = [name for name in columns if name not in targets]
    inputs = []
    for at, (item_id, begin, end) in enumerate(zip(ids.to_pylist(), bounds.tolist(), ends.tolist(), strict=False)):
        rows = [columns[name][begin:end] for name in targets]
        entry: Fields = {ITEM: item_id, "start": times.start(at), TARGET: rows if len(rows) > 1 else rows[0]}
        if covariates:
            entry["past_covariates"] = {name: columns[name][begin:end] for name in covariates}
        if known:
            entry["future_covariates"] = {name: columns[name][end : end + ahead] for name in known}
        inputs.append(entry)
    source = Source(ids, pa.types.is_dictionary(table[ITEM].type), times.clock, targets)
    return {"inputs": inputs, "parameters": parameters}, source


def _names(query: Query, name: str) -> list[str]:
    return [word for text in query.get(name, ()) for word in text.split(",") if word]


def _value(name: str, texts: Sequence[str]) -> object:
    """The JSON value that a parameter's text stands for; text that is no JSON is text."""
    text = ",".join(texts) if name in LISTS else texts[-1]
    try:
        value: object = orjson.loads(f"[{text}]" if name in LISTS else text)
    except orjson.JSONDecodeError:
        return text
    return value


def _check_columns(table: pa.Table, needed: Sequence[str]) -> None:
    for name in needed:
        if name not in table.column_names:
            there = ", ".join(other[:40] for other in table.column_names[:10])
            raise BadRequest(f"{name[:40]}: expected a column of this name, got {there or 'none at all'}")
    kind = table.schema.field(ITEM).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (arrow.is_text(kind) or pa.types.is_integer(kind)):
        raise BadRequest(f"{ITEM}: expected a column of texts or whole numbers, got {kind}")
    if nulls := table[ITEM].null_count:
        raise BadRequest(f"{ITEM}: expected a name in every row, got {nulls} nulls")
    if not table.num_rows:
        raise BadRequest("body: expected a table with rows, got none")


def _by_item(table: pa.Table) -> tuple[pa.Table, NDArray[np.int64], pa.Array]:
    """The table with the rows of each series together, the bounds of the series, and their names.

    Rows that are together already stay where they are; else they are moved, in their order.
    """
    bounds, heads = _runs(table[ITEM])
    named = heads.dictionary_encode()
    if len(named.dictionary) == len(heads):
        return table, bounds, heads
    of_row = np.repeat(named.indices.to_numpy(), np.diff(bounds))
    table = table.take(pa.array(np.argsort(of_row, kind="stable")))
    return table, np.concatenate(([0], np.cumsum(np.bincount(of_row)))), named.dictionary


def _runs(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], pa.Array]:
    """Where the value changes, from 0 to the length, and the value of each run."""
    coded = pa.types.is_dictionary(column.type)
    ids = (column.unify_dictionaries() if coded else column).combine_chunks()
    # Values of a dictionary are never repeated for each row: a few bytes can stand for millions of long texts.
    codes = ids.indices if coded else ids
    changes = pc.indices_nonzero(pc.not_equal(codes[1:], codes[:-1])).to_numpy().astype(np.int64) + 1
    bounds = np.concatenate(([0], changes, [len(ids)])).astype(np.int64)
    heads = ids.take(pa.array(bounds[:-1]))
    return bounds, heads.dictionary_decode() if coded else heads


def _check_ahead(
    table: pa.Table, targets: Sequence[str], bounds: NDArray[np.int64], ends: NDArray[np.int64], ids: pa.Array
) -> None:
    """With covariates known in advance, each series ends with rows that have no target."""
    ahead = int(bounds[1] - ends[0])
    if not ahead:
        return
    short = np.flatnonzero(ends <= bounds[:-1])
    if short.size:
        raise BadRequest(
            f"{KNOWN}: expected prediction_length = {ahead} rows behind the history of each item, "
            f"got {int(np.diff(bounds)[short[0]])} rows in all for item {shown(ids[int(short[0])].as_py())}"
        )
    for name in targets:
        given = np.concatenate(([0], np.cumsum(pc.is_valid(table[name]).to_numpy())))
        late = np.flatnonzero(given[bounds[1:]] > given[ends])
        if late.size:
            raise BadRequest(
                f"{name[:40]}: expected no values in the last prediction_length = {ahead} rows of each item, which "
                f"hold what is known in advance, got some for item {shown(ids[int(late[0])].as_py())}"
            )


def _values(name: str, column: pa.ChunkedArray, is_target: bool) -> Values:
    """One column: numbers as an array with NaN for nulls, booleans and texts as a list with None for nulls."""
    kind = column.type
    codes: NDArray[np.int64] | None = None
    if pa.types.is_dictionary(kind):
        coded = column.unify_dictionaries().combine_chunks()
        codes = coded.indices.fill_null(len(coded.dictionary)).to_numpy()
        column, kind = coded.dictionary, kind.value_type
    numeric = arrow.is_number(kind)
    if not numeric and (is_target or not (arrow.is_text(kind) or pa.types.is_boolean(kind))):
        what = "numbers" if is_target else "numbers, texts or booleans, as a covariate is"
        raise BadRequest(f"{name[:40]}: expected a column of {what}, got {kind}")
    if codes is not None:
        listed = np.array([*column.to_pylist(), None], dtype=object)[codes]
        return listed.astype(np.float64) if numeric else listed.tolist()
    if not numeric:
        return list(column.to_pylist())
    if pa.types.is_decimal(kind) or column.null_count:
        column = column.cast(pa.float64(), safe=False)
    array: Values = column.to_numpy()
    return array
