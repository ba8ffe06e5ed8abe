"""From a request's body to a checked forecast request: the one place where input is validated."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
import orjson

from tsfm.errors import BadRequest, TooLarge
from tsfm.series import Capabilities, FloatArray, Series
from tsfm.settings import Settings

DEFAULT_HORIZON = 10
DEFAULT_CONFIDENCE = 0.95
NARROWEST_TAIL = 1e-6  # in float32 the upper level would be 1 below this, which is no quantile of anything
JSON_KINDS = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}


@dataclass(frozen=True)
class ForecastRequest:
    """A request that is known to be answerable.

    Attributes:
        confidence: probability of the central interval, in [0, 1).
    """

    series: Series
    horizon: int
    confidence: float

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
    target = numbers("input", body.get("input"))
    check_rows("input", len(target), limits)
    horizon = whole("next_len", body.get("next_len", DEFAULT_HORIZON), 1, limits.max_horizon)
    confidence = body.get("conf_interval", DEFAULT_CONFIDENCE)
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 <= confidence < 1:
        raise BadRequest(f"conf_interval: expected a number from 0 to below 1, got {shown(confidence)}")
    if np.isnan(target).all():
        raise BadRequest(f"input: expected at least one number, got {len(target)} missing values")
    check_times(body.get("ts"), len(target))
    check_covariates(body, limits)
    past = covariates("past_dynamic_real", body.get("past_dynamic_real"), len(target))
    future = covariates("dynamic_real", body.get("dynamic_real"), len(target) + horizon)
    return ForecastRequest(Series(target, past, future), horizon, float(confidence))


def check_capabilities(request: ForecastRequest, can: Capabilities, family: str) -> None:
    """Refuse in words what the loaded checkpoint cannot use, rather than ignore it."""
    past, future = request.series.schema
    if past and not can.past_covariates:
        raise BadRequest(f"past_dynamic_real: {family} takes no past covariates, got {past}")
    if future and not can.future_covariates:
        raise BadRequest(f"dynamic_real: {family} takes no future covariates, got {future}")


def check_context(request_series: Series, max_context: int, min_context: int, family: str) -> None:
    """Refuse a series of which the model would see too few observed points."""
    seen = request_series.target[-max_context:]
    observed = int(np.count_nonzero(~np.isnan(seen)))
    if observed < min_context:
        raise BadRequest(
            f"input: {family} needs at least {min_context} observed points among the newest {max_context}, "
            f"got {observed}"
        )


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
    times = integers("ts", value)
    if len(times) != rows:
        raise BadRequest(f"ts: expected {rows} timestamps, one for each point of input, got {len(times)}")
    if (late := np.flatnonzero(np.diff(times) < 0)).size:
        raise BadRequest(f"ts: expected oldest first, got an earlier timestamp at position {late[0] + 1}")


def covariates(field: str, value: object, length: int) -> FloatArray:
    """A list of covariates, each ``length`` long; absent and empty mean none. Shape (k, length)."""
    if value is None or value == []:
        return np.empty((0, 0))
    if not isinstance(value, list):
        raise BadRequest(f"{field}: expected a list of lists of numbers, got {shown(value)}")
    rows = []
    for index, entry in enumerate(value):
        row = numbers(f"{field}[{index}]", entry)
        if len(row) != length:
            raise BadRequest(f"{field}[{index}]: expected {length} numbers, got {len(row)}")
        if np.isnan(row).all():
            raise BadRequest(f"{field}[{index}]: expected at least one number, got only missing values")
        rows.append(row)
    return np.stack(rows)


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
        at = next(i for i, item in enumerate(value) if type(item) in strange)
        raise BadRequest(f"{field}[{at}]: expected a whole number, got {shown(value[at])}")
    try:
        return np.array(value, dtype=np.int64)
    except OverflowError:
        raise BadRequest(f"{field}: expected whole numbers of at most 64 bits, got a larger one") from None


def whole(field: str, value: object, low: int, high: int) -> int:
    """A whole number from ``low`` to ``high``; 12.0 is one to JSON."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not low <= value <= high:
        raise BadRequest(f"{field}: expected a whole number from {low} to {high}, got {shown(value)}")
    return value


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
