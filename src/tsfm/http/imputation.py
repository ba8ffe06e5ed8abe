"""From a body of POST /imputation to a series with holes, and from the filled series to the answer.

The request's timestamps and ``freq`` make a regular grid from the first to the last; where it has no row, or the
row has no value, there is a hole to fill (tdgpt-contract: Imputation). Sizes are computed before anything of that
size is made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tsfm.errors import BadRequest, TooLarge
from tsfm.http.requests import check_most, exact, shown, timestamps, unknown
from tsfm.numerics.exact import kept, placed, rounded
from tsfm.series import FloatArray, Series
from tsfm.settings import Settings

MAX_ROWS = 8192
MAX_FILLED = 2048
DEFAULT_PRECISION = "ms"
DEFAULT_FREQ = "1L"
LONGEST_STEP = 2**63 - 1  # of timestamps in 64 bits
FIELDS = ("input", "ts", "precision", "freq")

PRECISIONS_NS = {
    "d": 86_400_000_000_000,
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
# pandas' aliases, old and new, and the units of TDengine's freq=, where m is a minute.
UNITS_NS = PRECISIONS_NS | {
    "W": 7 * PRECISIONS_NS["d"],
    "D": PRECISIONS_NS["d"],
    "H": PRECISIONS_NS["h"],
    "T": PRECISIONS_NS["m"],
    "min": PRECISIONS_NS["m"],
    "S": PRECISIONS_NS["s"],
    "L": PRECISIONS_NS["ms"],
    "U": PRECISIONS_NS["us"],
    "N": PRECISIONS_NS["ns"],
}


@dataclass(frozen=True)
class ImputationRequest:
    """A regular grid with holes, known to be answerable.

    Attributes:
        times: shape (n,), evenly spaced, in the request's precision.
        target: shape (n,), float64; NaN in the holes, of which there may be none.
        origin: what was taken off every point of ``target``, see ``tsfm.numerics.exact``.
        given: n values as they came, None in the holes, where float64 would round them; else None.
        warnings: sentences about what was ignored.
    """

    times: NDArray[np.int64]
    target: FloatArray
    origin: int = 0
    given: list[Any] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def series(self) -> Series:
        return Series(self.target)


def parse(body: dict[str, object], limits: Settings) -> ImputationRequest:
    """Check the fields of an imputation request and lay its rows on their grid.

    Raises:
        BadRequest, TooLarge: one sentence that names the field, what was expected and what came.
    """
    values = body.get("input")
    check_most("input", values, min(limits.max_rows, MAX_ROWS))
    target, origin = exact("input", values)
    _check_rows(len(target), limits)
    times = _times(body.get("ts"), len(target))
    precision = _precision(body.get("precision"))
    freq = body.get("freq")
    step = _step(freq, precision)
    observed = int(np.count_nonzero(~np.isnan(target)))
    if not observed:
        raise BadRequest(f"input: expected at least one number, got {len(target)} missing values")
    points = (times[-1] - times[0]) // step + 1
    if points - observed > MAX_FILLED:
        raise BadRequest(_too_many(points, observed, times, precision, freq))
    places = _places(times, step, precision)
    full = np.full(points, np.nan)
    full[places] = target
    return ImputationRequest(
        # Whole numbers of Python: the step alone may need more than what is left of 64 bits.
        np.array([times[0] + step * place for place in range(points)], np.int64),
        full,
        origin,
        _as_they_came(cast(list[Any], values), places, points),
        unknown(body, FIELDS),
    )


def answer(request: ImputationRequest, filled: FloatArray) -> dict[str, object]:
    """The fields of the answer: observed points exactly as they came, and the model's in the holes.

    Args:
        filled: shape (n,), finite.
    """
    holes = np.isnan(request.target)
    values = placed(np.where(holes, np.asarray(filled, np.float64), request.target), request.origin)
    if request.given is not None:
        values = [value if hole else came for value, hole, came in zip(values, holes, request.given, strict=True)]
    fields = {"status": "success", "ts": request.times, "target": values, "mask": holes.astype(np.uint8)}
    return fields | ({"warnings": list(request.warnings)} if request.warnings else {})


def _check_rows(rows: int, limits: Settings) -> None:
    most = min(limits.max_rows, MAX_ROWS)
    if rows > most:
        raise TooLarge(f"input: expected at most {most} points, got {rows}")
    if rows < limits.min_rows:
        raise BadRequest(f"input: expected at least {limits.min_rows} points, got {rows}")


def _times(value: object, rows: int) -> list[int]:
    """Ascending timestamps as Python's integers: their differences may need more than 64 bits."""
    times: list[int] = timestamps(value, rows).tolist()
    for at, (before, here) in enumerate(pairwise(times), start=1):
        if here == before:
            raise BadRequest(f"ts[{at}]: expected each timestamp once, got {here} again")
        if here < before:
            raise BadRequest(f"ts[{at}]: expected oldest first, got {here} behind {before}")
    return times


def _precision(value: object) -> str:
    if value is None:
        return DEFAULT_PRECISION
    if not isinstance(value, str) or value not in PRECISIONS_NS:
        raise BadRequest(f"precision: expected one of {', '.join(PRECISIONS_NS)}, got {shown(value)}")
    return value


def _step(freq: object, precision: str) -> int:
    """The grid's step in units of the precision."""
    text = DEFAULT_FREQ if freq is None else freq
    match = re.fullmatch(r"([0-9]{0,18})([A-Za-z]+)", text) if isinstance(text, str) else None
    count = int(match[1] or 1) if match else 0
    if not match or match[2] not in UNITS_NS or not count:
        units = ", ".join(UNITS_NS)
        raise BadRequest(f"freq: expected a unit out of {units}, with or without a count, got {_shown(freq)}")
    step, rest = divmod(count * UNITS_NS[match[2]], PRECISIONS_NS[precision])
    if step > LONGEST_STEP:
        raise BadRequest(f"freq: expected a step of at most {LONGEST_STEP}{precision}, got {_shown(freq)}")
    if rest:
        raise BadRequest(f"freq: expected a multiple of the precision, which is 1{precision}, got {_shown(freq)}")
    return step


def _shown(freq: object) -> str:
    return f"the default {DEFAULT_FREQ}" if freq is None else shown(freq)


def _too_many(points: int, observed: int, times: list[int], precision: str, freq: object) -> str:
    closest = min(here - before for before, here in pairwise(times))
    return (
        f"freq: expected at most {MAX_FILLED} points to fill, got {_shown(freq)}, which makes a grid of "
        f"{points} points of which {points - observed} are missing; "
        f"the closest timestamps are {closest}{precision} apart"
    )


def _places(times: list[int], step: int, precision: str) -> list[int]:
    """Which point of the grid each row is."""
    places = []
    for at, time in enumerate(times):
        place, rest = divmod(time - times[0], step)
        if rest:
            raise BadRequest(
                f"ts[{at}]: expected a whole number of steps of freq ({step}) after the first timestamp, "
                f"got {time} behind {times[0]}{_likely_cause(step, rest, precision)}"
            )
        places.append(place)
    return places


def _likely_cause(step: int, rest: int, precision: str) -> str:
    """Why a timestamp may lie beside its grid of days, in words; of other grids nothing is known."""
    step, rest = step * PRECISIONS_NS[precision], rest * PRECISIONS_NS[precision]
    day, half_an_hour = PRECISIONS_NS["d"], PRECISIONS_NS["h"] // 2
    if step % day or rest % half_an_hour:
        return ""
    if rest % day:
        return "; where clocks change, a local day has 23 or 25 hours: send days in UTC"
    return "; months have 28 to 31 days, and no freq is a month" if step >= 28 * day else ""


def _as_they_came(values: list[Any], places: list[int], points: int) -> list[Any] | None:
    """The values on the grid, where some are whole numbers that a float64 would round."""
    if not rounded(values):
        return None
    given: list[Any] = [None] * points
    for place, value in zip(places, values, strict=True):
        given[place] = kept(value)
    return given
