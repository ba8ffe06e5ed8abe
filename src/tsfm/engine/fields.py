"""Checks of a request's fields: JSON values in, numpy arrays and plain numbers out, or a sentence that says why not."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import orjson

from tsfm.errors import BadRequest, TooLarge
from tsfm.numerics.exact import EXACT, offset_removed
from tsfm.series import FloatArray, Series
from tsfm.settings import Settings

MOST_WARNINGS = 8
_NUMBER_TYPES = {int, float, type(None)}
JSON_KINDS = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}


def decode(body: bytes) -> dict[str, object]:
    """The JSON object in a body; a bare NaN is allowed, since TDgpt may write it."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = _decode_leniently(body)
    if not isinstance(value, dict):
        raise BadRequest(f"body: expected a JSON object, got {kind(value)}")
    return value


def encode(value: object) -> bytes:
    """JSON; arrays may stand for lists."""
    # Not OPT_SERIALIZE_NUMPY: orjson 3.13.0 writes beyond its buffer where an array's numbers have many digits.
    return orjson.dumps(value, default=_listed)


def _listed(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"no JSON for {type(value).__name__}")


def given(body: dict[str, object], field: str, default: object) -> object:
    """An optional field's value; null means absent."""
    value = body.get(field)
    return default if value is None else value


def unknown(body: dict[str, object], known: Sequence[str]) -> tuple[str, ...]:
    """A warning for each unknown field."""
    names = [name if name.isprintable() and len(name) <= 40 else shown(name) for name in body if name not in known]
    warnings = [f"{name}: not understood and ignored; known are {', '.join(known)}" for name in names[:MOST_WARNINGS]]
    if len(names) > MOST_WARNINGS:
        warnings.append(f"{len(names) - MOST_WARNINGS} more fields: not understood and ignored")
    return tuple(warnings)


def check_context(series: Series, room: int, min_context: int, family: str, field: str = "input") -> None:
    """Refuse a series in which the model would see too few observed points.

    Args:
        room: the newest points, which the model looks at.
        field: what the request calls the series.
    """
    observed = int(np.count_nonzero(series.observed[-room:]))
    if observed < min_context:
        raise BadRequest(
            f"{field}: {family} needs at least {min_context} observed points among the newest {room}, got {observed}"
        )


def check_most(field: str, value: object, most: int) -> None:
    """Refuse a list that is too long before its items are looked at."""
    if isinstance(value, list) and len(value) > most:
        raise TooLarge(f"{field}: expected at most {most} points, got {len(value)}")


def check_rows(field: str, rows: int, limits: Settings) -> None:
    """Refuse fewer or more points than the settings allow."""
    if rows > limits.max_rows:
        raise TooLarge(f"{field}: expected at most {limits.max_rows} points, got {rows}")
    if rows < limits.min_rows:
        raise BadRequest(f"{field}: expected at least {limits.min_rows} points, got {rows}")


def timestamps(value: object, rows: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Whole numbers, one for each point; the items of a longer list are not looked at."""
    count = len(value) if isinstance(value, list) else 0
    if count <= rows:
        times = integers("ts", value)
    if count != rows:
        raise BadRequest(f"ts: expected {rows} timestamps, one for each point of input, got {count}")
    return times


def covariates(field: str, value: object, length: int) -> FloatArray:
    """A list of covariates, each ``length`` long; absent and empty mean none. Shape (k, length)."""
    if value is None or value == []:
        return np.empty((0, 0))
    if not isinstance(value, list):
        raise BadRequest(f"{field}: expected a list of lists of numbers, got {shown(value)}")
    rows = []
    for index, entry in enumerate(value):
        if not isinstance(entry, list):
            raise BadRequest(
                f"{field}: expected a list of lists of numbers, one list for each covariate, "
                f"got {shown(entry)} at position {index}"
            )
        if len(entry) <= length:
            row, _ = exact(f"{field}[{index}]", entry)
        if len(entry) != length:
            raise BadRequest(f"{field}[{index}]: expected {length} numbers, got {len(entry)}")
        rows.append(row)
    return np.stack(rows)


def exact(field: str, value: object) -> tuple[FloatArray, int]:
    """As ``numbers``, less a whole number where a float64 would round some of them; and that number, else 0."""
    array, kinds = _numbers(field, value)
    if int not in kinds or not (np.abs(array) > EXACT).any():
        return array, 0
    return offset_removed(value.tolist() if isinstance(value, np.ndarray) else cast(list[Any], value), array)


def numbers(field: str, value: object) -> FloatArray:
    """A list of numbers as float64, null and NaN as NaN; anything else is refused and its position named.

    An array of numbers, of shape (n,), is what a body in a binary format holds in place of a list.
    """
    return _numbers(field, value)[0]


def _numbers(field: str, value: object) -> tuple[FloatArray, set[type]]:
    """The numbers, and the types that the values had."""
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "iuf":
        kind = int if value.dtype.kind in "iu" else float
        return _finite(field, value.astype(np.float64, copy=False)), {kind}
    if not isinstance(value, list):
        raise BadRequest(f"{field}: expected a list of numbers, got {'nothing' if value is None else shown(value)}")
    kinds = set(map(type, value))
    if other_types := kinds - _NUMBER_TYPES:
        at = next(i for i, item in enumerate(value) if type(item) in other_types)
        raise BadRequest(f"{field}[{at}]: expected a number or null, got {shown(value[at])}")
    try:
        array = np.array(value, dtype=np.float64)
    except OverflowError:
        at = next(i for i, item in enumerate(value) if isinstance(item, int) and _overflows(item))
        raise BadRequest(f"{field}[{at}]: expected a number up to 1.8e308, got a larger one") from None
    return _finite(field, array), kinds


def _finite(field: str, array: FloatArray) -> FloatArray:
    if np.isinf(array).any():
        at = int(np.flatnonzero(np.isinf(array))[0])
        raise BadRequest(f"{field}[{at}]: expected a finite number, got infinity")
    return array


def integers(field: str, value: object) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """A list of whole numbers of at most 64 bits."""
    if not isinstance(value, list):
        raise BadRequest(f"{field}: expected a list of whole numbers, got {shown(value)}")
    other_types = set(map(type, value)) - {int}
    if other_types:
        for at, item in enumerate(value):
            if not is_whole(item):
                raise BadRequest(f"{field}[{at}]: expected a whole number, got {shown(item)}")
        value = [int(item) for item in value]
    try:
        return np.array(value, dtype=np.int64)
    except OverflowError:
        raise BadRequest(f"{field}: expected whole numbers of at most 64 bits, got a larger one") from None


def is_whole(value: object) -> bool:
    """In JSON 12 and 12.0 are whole numbers; true is not."""
    return type(value) is int or (type(value) is float and value.is_integer())


def whole(field: str, value: object, low: int, high: int) -> int:
    """A whole number from ``low`` to ``high``; 12.0 is one in JSON."""
    if not is_whole(value) or not low <= (number := int(cast(float, value))) <= high:
        raise BadRequest(f"{field}: expected a whole number from {low} to {high}, got {shown(value)}")
    return number


def kind(value: object) -> str:
    """The kind of a JSON value, for an error sentence."""
    return JSON_KINDS.get(type(value), "a number")


def shown(value: object) -> str:
    """A JSON value for an error sentence: scalars as received and shortened, lists and objects by kind."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinity"
    if isinstance(value, bool | str) or value is None:
        text = json.dumps(value)
    elif isinstance(value, int | float):
        text = repr(value) if abs(value) < 1e300 else "a number beyond 1e300"
    else:
        return kind(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _decode_leniently(body: bytes) -> object:
    try:
        return json.loads(body)
    except UnicodeDecodeError as error:
        raise BadRequest(f"body: expected JSON in UTF-8, got invalid bytes at position {error.start}") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"body: expected JSON, but at position {error.pos}: {error.msg}") from None
    except RecursionError:
        raise BadRequest("body: expected a flat JSON object, got one nested too deeply") from None
    except ValueError:  # Python refuses to convert integers of more than 4,300 digits
        raise BadRequest("body: expected numbers up to 1.8e308, got one of thousands of digits") from None


def _overflows(number: int) -> bool:
    try:
        float(number)
    except OverflowError:
        return True
    return False
