"""TDgpt's side of the conversation with a model service: what it sends, and what it makes of the answer."""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.request
from collections.abc import Sequence


class SqlError(Exception):
    """What the user of the database would see."""


def forecast(
    url: str,
    values: Sequence[float],
    rows: int,
    ts: Sequence[int] | None = None,
    confidence: float = 0.95,
    past: Sequence[Sequence[float]] = (),
    known: Sequence[Sequence[float]] = (),
) -> list[list[float]]:
    """[forecast, lower bounds, upper bounds], each ``rows`` long. Older clients send no timestamps."""
    body = {"input": list(values), "next_len": rows, "conf_interval": confidence}
    body |= {"past_dynamic_real": list(past), "dynamic_real": list(known)}
    answer = _post(url, body if ts is None else body | {"ts": list(ts)})
    output = answer["output"]
    if "upper" not in answer:
        return [_floats(output, rows)] * 3
    return [_floats(series, rows) for series in (output, answer["lower"], answer["upper"])]


def imputation(
    url: str, values: Sequence[float], ts: Sequence[int], precision: str = "ms", freq: str = "1L"
) -> tuple[list[int], list[float], list[int]]:
    """(timestamps, values, mask) of the completed grid."""
    answer = _post(url, {"input": list(values), "ts": list(ts), "precision": precision, "freq": freq})
    grid, target, mask = answer["ts"], answer["target"], answer["mask"]
    if not len(grid) == len(target) == len(mask):
        raise SqlError("the answer's lists differ in length")
    return [int(t) for t in grid], _floats(target, len(grid)), [int(m) for m in mask]


def _floats(series: Sequence[float], length: int) -> list[float]:
    if len(series) != length:
        raise SqlError(f"asked for {length} rows, got {len(series)}")
    if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in series):
        raise SqlError("the answer has what is no finite number")
    return [float(value) for value in series]


def _post(url: str, body: dict) -> dict:
    # As TDgpt does: a bare NaN for a missing value.
    data = json.dumps(body, allow_nan=True).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode()
        raise SqlError("invalid host url" if error.code == 404 else f"failed to request the service, {text}") from None
    except OSError as error:
        raise SqlError(f"no service at {url}: {error}") from None
