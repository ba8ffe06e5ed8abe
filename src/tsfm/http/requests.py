"""From a request's body to a checked forecast request: the one place where input is validated."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import orjson

from tsfm.errors import BadRequest, TooLarge
from tsfm.numerics.exact import taken_off
from tsfm.series import Capabilities, Family, FloatArray, Series
from tsfm.settings import Settings

if TYPE_CHECKING:
    from tsfm.numerics.scaling import Fitted

DEFAULT_HORIZON = 10
DEFAULT_CONFIDENCE = 0.95
NARROWEST_TAIL = 1e-6  # in float32 the upper level would be 1 below this, which is no quantile of anything
FIELDS = ("input", "next_len", "conf_interval", "ts", "past_dynamic_real", "dynamic_real")
MOST_WARNINGS = 8
JSON_KINDS = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}


@dataclass(frozen=True)
class ForecastRequest:
    """A request that is known to be answerable.

    Attributes:
        confidence: probability of the central interval, in [0, 1).
        origin: what was taken off every point of ``series.target``, so that whole numbers beyond 2^53 keep their
            last digits; else 0.
        warnings: sentences about what was ignored.
    """

    series: Series
    horizon: int
    confidence: float
    origin: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def levels(self) -> tuple[float, float]:
        """The interval's two quantile levels; rounded, so that 0.8 asks for 0.1 and not 0.0999999."""
        tail = max(round((1 - self.confidence) / 2, 12), NARROWEST_TAIL)
        return tail, round(1 - tail, 12)


def decode(body: bytes) -> dict[str, object]:
    """The JSON object in a body; a bare NaN is allowed as TDgpt may write it."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = _decode_leniently(body)
    if not isinstance(value, dict):
        raise BadRequest(f"body: expected a JSON object, got {kind(value)}")
    return value


def forecast_request(body: dict[str, object], limits: Settings) -> ForecastRequest:
    """Check the fields of a forecast request (tdgpt-contract: POST /ds_predict).

    Raises:
        BadRequest, TooLarge: one sentence that names the field, what was expected and what came.
    """
    check_most("input", body.get("input"), limits.max_rows)
    target, origin = exact("input", body.get("input"))
    check_rows("input", len(target), limits)
    horizon = whole("next_len", given(body, "next_len", DEFAULT_HORIZON), 1, limits.max_horizon)
    confidence = given(body, "conf_interval", DEFAULT_CONFIDENCE)
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 <= confidence < 1:
        raise BadRequest(f"conf_interval: expected a number from 0 to below 1, got {shown(confidence)}")
    if np.isnan(target).all():
        raise BadRequest(f"input: expected at least one number, got {len(target)} missing values")
    check_times(body.get("ts"), len(target))
    check_covariates(body, limits)
    past = covariates("past_dynamic_real", body.get("past_dynamic_real"), len(target))
    future = covariates("dynamic_real", body.get("dynamic_real"), len(target) + horizon)
    return ForecastRequest(Series(target, past, future), horizon, float(confidence), origin, unknown(body, FIELDS))


def given(body: dict[str, object], field: str, default: object) -> object:
    """An optional field's value; null is as good as absent."""
    value = body.get(field)
    return default if value is None else value


def unknown(body: dict[str, object], known: Sequence[str]) -> tuple[str, ...]:
    """A warning for each field that is none of the known ones."""
    strange = [name if name.isprintable() and len(name) <= 40 else shown(name) for name in body if name not in known]
    told = [f"{name}: not understood and ignored; known are {', '.join(known)}" for name in strange[:MOST_WARNINGS]]
    if len(strange) > MOST_WARNINGS:
        told.append(f"{len(strange) - MOST_WARNINGS} more fields: not understood and ignored")
    return tuple(told)


def check_capabilities(request: ForecastRequest, can: Capabilities, family: str) -> None:
    """Refuse in words what the loaded checkpoint cannot use, rather than ignore it."""
    past, future = request.series.schema
    if past and not can.past_covariates:
        raise BadRequest(f"past_dynamic_real: {family} takes no past covariates, got {past}")
    if future and not can.future_covariates:
        raise BadRequest(f"dynamic_real: {family} takes no future covariates, got {future}")


def filled_covariates(series: Series, can: Capabilities, family: str) -> tuple[str, ...]:
    """A warning for each kind of covariates with gaps that the loaded checkpoint is not told of."""
    if can.covariate_gaps:
        return ()
    rows = {"past_dynamic_real": series.past_covariates, "dynamic_real": series.future_covariates}
    missing = {field: int(np.isnan(values).sum()) for field, values in rows.items()}
    return tuple(
        f"{field}: {family} cannot mask missing covariates; {count} were filled by the mean of their past"
        for field, count in missing.items()
        if count
    )


def check_fit(fit: Fitted, asked: ForecastRequest, family: Family, name: str) -> None:
    """Refuse what leaves the model too little to see."""
    (past, future), room = fit.series.schema, max(fit.room, 0)
    late = fit.lead - asked.horizon
    steps = f"next_len {asked.horizon}" + (f" after {late} missing points at the end of input" if late else "")
    if fit.room < family.min_room:
        kinds = [f"{count} {kind} covariates" for count, kind in ((past, "past"), (future, "future")) if count]
        field = "covariates" if kinds else "input" if late else "next_len"
        less = " or ".join(["fewer covariates"] * bool(kinds) + ["newer points"] * bool(late) + ["a smaller next_len"])
        raise BadRequest(
            f"{field}: {' and '.join([*kinds, steps])} leave room for {room} points of context; "
            f"at least {family.min_room} are needed: send {less}"
        )
    check_context(fit.series, room, family.min_context, name)


def check_context(series: Series, room: int, min_context: int, family: str) -> None:
    """Refuse a series of which the model would see too few observed points."""
    observed = int(np.count_nonzero(~np.isnan(series.target[-room:])))
    if observed < min_context:
        raise BadRequest(
            f"input: {family} needs at least {min_context} observed points among the newest {room}, got {observed}"
        )


def check_most(field: str, value: object, most: int) -> None:
    """Refuse a list of more points than that, before any time is spent on them."""
    if isinstance(value, list) and len(value) > most:
        raise TooLarge(f"{field}: expected at most {most} points, got {len(value)}")


def check_rows(field: str, rows: int, limits: Settings) -> None:
    """Refuse fewer or more points than the settings allow."""
    if rows > limits.max_rows:
        raise TooLarge(f"{field}: expected at most {limits.max_rows} points, got {rows}")
    if rows < limits.min_rows:
        raise BadRequest(f"{field}: expected at least {limits.min_rows} points, got {rows}")


def check_covariates(body: dict[str, object], limits: Settings) -> None:
    """Refuse more covariates than the settings allow, before any of them is looked at."""
    given = [body.get(field) for field in ("past_dynamic_real", "dynamic_real")]
    count = sum(len(rows) for rows in given if isinstance(rows, list))
    if count > limits.max_covariates:
        raise TooLarge(f"covariates: expected at most {limits.max_covariates}, got {count}")


def check_times(value: object, rows: int) -> None:
    """Timestamps are optional: whole numbers, one for each point, oldest first."""
    if value is None or value == []:
        return
    times = timestamps(value, rows)
    # Compared, not subtracted: a difference may need more than 64 bits.
    if (late := np.flatnonzero(times[1:] < times[:-1])).size:
        raise BadRequest(f"ts: expected oldest first, got an earlier timestamp at position {late[0] + 1}")


def timestamps(value: object, rows: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """As many whole numbers as there are points; a longer list is not even looked at."""
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
    """As ``numbers``, without the level of whole numbers that a float64 would round; and that level, else 0."""
    array = numbers(field, value)
    return taken_off(cast(list[Any], value), array)


def numbers(field: str, value: object) -> FloatArray:
    """A list of numbers as float64, null and NaN as NaN; anything else is refused with its position."""
    if not isinstance(value, list):
        raise BadRequest(f"{field}: expected a list of numbers, got {'nothing' if value is None else shown(value)}")
    strange = set(map(type, value)) - {int, float, type(None)}
    if strange:
        at = next(i for i, item in enumerate(value) if type(item) in strange)
        raise BadRequest(f"{field}[{at}]: expected a number or null, got {shown(value[at])}")
    try:
        array = np.array(value, dtype=np.float64)
    except OverflowError:
        at = next(i for i, item in enumerate(value) if isinstance(item, int) and _overflows(item))
        raise BadRequest(f"{field}[{at}]: expected a number up to 1.8e308, got a larger one") from None
    if np.isinf(array).any():
        at = int(np.flatnonzero(np.isinf(array))[0])
        raise BadRequest(f"{field}[{at}]: expected a finite number, got infinity")
    return array


def integers(field: str, value: object) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """A list of whole numbers of at most 64 bits."""
    if not isinstance(value, list):
        raise BadRequest(f"{field}: expected a list of whole numbers, got {shown(value)}")
    strange = set(map(type, value)) - {int}
    if strange:
        for at, item in enumerate(value):
            if not is_whole(item):
                raise BadRequest(f"{field}[{at}]: expected a whole number, got {shown(item)}")
        value = [int(item) for item in value]
    try:
        return np.array(value, dtype=np.int64)
    except OverflowError:
        raise BadRequest(f"{field}: expected whole numbers of at most 64 bits, got a larger one") from None


def is_whole(value: object) -> bool:
    """12 and 12.0 are whole numbers to JSON; true is none."""
    return type(value) is int or (type(value) is float and value.is_integer())


def whole(field: str, value: object, low: int, high: int) -> int:
    """A whole number from ``low`` to ``high``; 12.0 is one to JSON."""
    if not is_whole(value) or not low <= (number := int(cast(float, value))) <= high:
        raise BadRequest(f"{field}: expected a whole number from {low} to {high}, got {shown(value)}")
    return number


def kind(value: object) -> str:
    """What a JSON value is, in words."""
    return JSON_KINDS.get(type(value), "a number")


def shown(value: object) -> str:
    """A short picture of a JSON value for an error sentence: scalars as they came, the rest by kind."""
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
