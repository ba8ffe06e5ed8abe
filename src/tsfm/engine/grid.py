"""The regular grid of an imputation request: timestamps in a precision, and the step that ``freq`` names.

Differences of timestamps may need more than 64 bits, so they are computed with Python's integers.
"""

from __future__ import annotations

import re
from itertools import pairwise

from tsfm.engine.fields import shown, timestamps
from tsfm.errors import BadRequest

DEFAULT_PRECISION = "ms"
DEFAULT_FREQ = "1L"
LONGEST_STEP = 2**63 - 1  # of timestamps in 64 bits

PRECISIONS_NS = {
    "d": 86_400_000_000_000,
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
# The aliases of pandas, old and new, and the units of TDengine's freq=, where m is a minute.
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


def precision_of(value: object) -> str:
    """The unit of the timestamps."""
    if value is None:
        return DEFAULT_PRECISION
    if not isinstance(value, str) or value not in PRECISIONS_NS:
        raise BadRequest(f"precision: expected one of {', '.join(PRECISIONS_NS)}, got {shown(value)}")
    return value


def step_of(freq: object, precision: str) -> int:
    """The grid's step in units of the precision."""
    text = DEFAULT_FREQ if freq is None else freq
    match = re.fullmatch(r"([0-9]{0,18})([A-Za-z]+)", text) if isinstance(text, str) else None
    count = int(match[1] or 1) if match else 0
    if not match or match[2] not in UNITS_NS or not count:
        units = ", ".join(UNITS_NS)
        raise BadRequest(f"freq: expected a unit out of {units}, with or without a count, got {shown_freq(freq)}")
    step, rest = divmod(count * UNITS_NS[match[2]], PRECISIONS_NS[precision])
    if step > LONGEST_STEP:
        raise BadRequest(f"freq: expected a step of at most {LONGEST_STEP}{precision}, got {shown_freq(freq)}")
    if rest:
        raise BadRequest(f"freq: expected a multiple of the precision, which is 1{precision}, got {shown_freq(freq)}")
    return step


def shown_freq(freq: object) -> str:
    """``freq`` for an error sentence."""
    return f"the default {DEFAULT_FREQ}" if freq is None else shown(freq)


def indices_of(times: list[int], step: int, precision: str) -> list[int]:
    """The index on the grid of each row."""
    indices = []
    for at, time in enumerate(times):
        index, rest = divmod(time - times[0], step)
        if rest:
            raise BadRequest(
                f"ts[{at}]: expected a whole number of steps of freq ({step}) after the first timestamp, "
                f"got {time} after {times[0]}{_likely_cause(step, rest, precision)}"
            )
        indices.append(index)
    return indices


def _likely_cause(step: int, rest: int, precision: str) -> str:
    """The likely reason why a timestamp is off a grid of days, for an error sentence; "" where it is not known."""
    step, rest = step * PRECISIONS_NS[precision], rest * PRECISIONS_NS[precision]
    day, half_an_hour = PRECISIONS_NS["d"], PRECISIONS_NS["h"] // 2
    if step % day or rest % half_an_hour:
        return ""
    if rest % day:
        return "; where clocks change, a local day has 23 or 25 hours: send days in UTC"
    return "; months have 28 to 31 days, and no freq is a month" if step >= 28 * day else ""


def times_of(value: object, rows: int) -> list[int]:
    """The timestamps, each later than the one before."""
    times: list[int] = timestamps(value, rows).tolist()
    for at, (before, here) in enumerate(pairwise(times), start=1):
        if here == before:
            raise BadRequest(f"ts[{at}]: expected each timestamp once, got {here} again")
        if here < before:
            raise BadRequest(f"ts[{at}]: expected oldest first, got {here} after {before}")
    return times
