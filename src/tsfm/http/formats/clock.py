"""The column ``timestamp`` of a long table: its type, and the step between the times of its series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tsfm.engine.fields import shown
from tsfm.engine.v1.parameters import frequency
from tsfm.errors import BadRequest
from tsfm.http.formats import arrow
from tsfm.numerics.frequency import Frequency, Start, Times

Whole = NDArray[np.int64]
UNIVERSAL = ("UTC", "Etc/UTC", "Z", "GMT", "+00:00")
DAY_US = 86_400_000_000
SHORTEST_MONTH_US = 28 * DAY_US
MOST_OF_A_UNIT = 999_999  # six digits, as Frequency reads them
# Names of fixed steps, the longest first; Frequency reads them.
UNITS_US = {DAY_US: "D", 3_600_000_000: "h", 60_000_000: "min", 1_000_000: "s", 1_000: "ms", 1: "us"}


@dataclass(frozen=True)
class Clock:
    """What the times of a table mean.

    Attributes:
        kind: the column's type.
        local: steps are counted on the wall clocks of the type's zone and not in UTC.
    """

    kind: pa.DataType
    local: bool = False

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Clock:
        """The clock of a column.

        Raises:
            BadRequest: the column holds no times, or one is missing.
        """
        kind = column.type
        if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
            raise BadRequest(f"timestamp: expected a column of timestamps or dates, got {kind}")
        if column.null_count:
            raise BadRequest(f"timestamp: expected a time in every row, got {column.null_count} nulls")
        return cls(kind)

    @property
    def zone(self) -> str:
        """The zone of the column's type; "" for none."""
        return getattr(self.kind, "tz", None) or ""

    def read(self, column: pa.ChunkedArray) -> Whole:
        """The times in microseconds since 1970, in UTC or on the zone's wall clock."""
        times = column.combine_chunks()
        try:
            if self.local:
                times = pc.local_timestamp(times)
            naive = times.cast(pa.timestamp("us", self.zone if not self.local and self.zone else None))
        except pa.ArrowInvalid as error:
            reason = arrow.first_line(error)
            raise BadRequest(f"timestamp: expected whole microseconds and a known time zone, but: {reason}") from None
        whole: Whole = naive.cast(pa.int64()).to_numpy()
        return whole

    def write(self, times: Times) -> pa.Array:
        """Wall-clock times of an answer, in microseconds, as a column of the table's type."""
        naive = pa.array(times.astype("M8[us]"))
        if self.local:
            # A time that the clocks skip or show twice in autumn and spring is moved as little as possible.
            naive = pc.assume_timezone(naive, self.zone, ambiguous="earliest", nonexistent="earliest")
        elif self.zone:
            naive = naive.cast(pa.timestamp("us", self.zone))
        return naive.cast(self.kind, safe=False)


@dataclass(frozen=True)
class Rhythm:
    """The times of all series of a table: each begins at ``starts`` and goes on in steps of ``freq``.

    Attributes:
        starts: microseconds since 1970 on the clock, one for each series.
    """

    clock: Clock
    freq: Frequency
    starts: tuple[int, ...]

    def start(self, series: int) -> str:
        """The time of a series' first point, in ISO 8601."""
        return str(np.datetime64(self.starts[series], "us"))


def rhythm(column: pa.ChunkedArray, bounds: Whole, ids: pa.Array, freq: str | None) -> Rhythm:
    """How the times of a table go on.

    Args:
        bounds: shape (series + 1,): the rows of series i are ``bounds[i]`` to ``bounds[i + 1]``.
        ids: the name of each series, for sentences.
        freq: as the request names the step; None: it is told from the times.

    Raises:
        BadRequest: times are missing, in no order, twice, or uneven.
    """
    clock = Clock.of(column)
    times = clock.read(column)
    steps = _steps(times, bounds)
    if steps.min(initial=DAY_US) <= 0:
        raise BadRequest(_disordered(times, steps, bounds, ids))
    even = _even(steps)
    if clock.zone and clock.zone not in UNIVERSAL and not (even and steps[0] < DAY_US):
        wall = replace(clock, local=True)
        local = wall.read(column)
        if (local_even := _even(_steps(local, bounds))) or not even:
            clock, times, steps, even = wall, local, _steps(local, bounds), local_even
    starts = tuple(times[bounds[:-1]].tolist())
    named = frequency(freq)
    step = named or _shared_step(times, steps, even, bounds)
    if step is None:
        raise BadRequest(_uneven(times, steps, bounds, ids))
    if named and (at := _off(named, times, steps, bounds)) is not None:
        series, row = at
        raise BadRequest(
            f"timestamp: expected steps of freq {named.text}, but item {_name(ids, series)} has {_time(times[row])} "
            f"as its row {row - bounds[series] + 1}"
        )
    return Rhythm(clock, step, starts)


def _steps(times: Whole, bounds: Whole) -> Whole:
    """The step behind each row but the last; between two series, where there is none, that of some other row."""
    steps: Whole = np.diff(times)
    between = bounds[1:-1] - 1
    inside = np.flatnonzero(np.diff(bounds) > 1)
    if not inside.size:
        return steps[:0]
    steps[between] = steps[bounds[inside[0]]]
    return steps


def _even(steps: Whole) -> bool:
    return bool(steps.size and (steps == steps[0]).all())


def _disordered(times: Whole, steps: Whole, bounds: Whole, ids: pa.Array) -> str:
    row = int(np.flatnonzero(steps <= 0)[0])
    item = _name(ids, int(np.searchsorted(bounds, row, "right")) - 1)
    if not steps[row]:
        return f"timestamp: expected the times of an item once each, got {_time(times[row])} twice in item {item}"
    got = f"{_time(times[row + 1])} after {_time(times[row])}"
    return f"timestamp: expected the times of an item oldest first, got {got} in item {item}"


def _shared_step(times: Whole, steps: Whole, even: bool, bounds: Whole) -> Frequency | None:
    """The step that all series share; None: there is none.

    Steps of 28 days and more are taken as months where that fits, since months and years differ in length.
    """
    if not steps.size:
        raise BadRequest("freq: expected one such as h or D, since no item has two rows that show the step, got none")
    fixed = Frequency.of(_fixed(int(steps[0]))) if even else None
    if fixed and steps[0] < SHORTEST_MONTH_US:
        return fixed
    begin = int(bounds[np.argmax(np.diff(bounds) > 1)])
    for text in _calendar(times[begin : begin + 2]):
        candidate = Frequency.of(text)
        if _off(candidate, times, steps, bounds) is None:
            return candidate
    return fixed


def _calendar(pair: Whole) -> Iterator[str]:
    """Names of the calendar's steps that may lie between two times."""
    first, second = pair.astype("M8[us]").astype("M8[M]").astype(np.int64).tolist()
    if months := second - first:
        yield f"P{months}M"
        yield f"{months}ME"
    if pair[1] - pair[0] in (DAY_US, 3 * DAY_US):
        yield "B"


def _off(freq: Frequency, times: Whole, steps: Whole, bounds: Whole) -> tuple[int, int] | None:
    """The first series and row that are not in step; None: all are."""
    if freq.unit == "us" and not freq.alignment:
        wrong = np.flatnonzero(steps != freq.count)
        return (int(np.searchsorted(bounds, wrong[0], "right")) - 1, int(wrong[0]) + 1) if wrong.size else None
    for series, (begin, end) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        even = freq.at(Start(int(times[begin])), np.arange(end - begin)).astype("M8[us]").astype(np.int64)
        if (wrong := np.flatnonzero(times[begin:end] != even)).size:
            return series, begin + int(wrong[0])
    return None


def _uneven(times: Whole, steps: Whole, bounds: Whole, ids: pa.Array) -> str:
    """The sentence about the first step that differs from the most frequent one."""
    lengths, counts = np.unique(steps, return_counts=True)
    usual = int(lengths[np.argmax(counts)])
    row = int(np.flatnonzero(steps != usual)[0])
    item = _name(ids, int(np.searchsorted(bounds, row, "right")) - 1)
    return (
        f"timestamp: expected even steps, the same for all items, but item {item} goes from {_time(times[row])} to "
        f"{_time(times[row + 1])}, where most steps are {_fixed(usual)}: send a row without a target for each missing "
        "time, or name the step with freq"
    )


def _fixed(step_us: int) -> str:
    unit = next(unit for unit in UNITS_US if step_us % unit == 0)
    count = step_us // unit
    return f"{count}{UNITS_US[unit]}" if count <= MOST_OF_A_UNIT else f"PT{step_us / 1e6:.6f}S"


def _time(us: int) -> str:
    return str(np.datetime64(int(us), "us")).removesuffix(".000000")


def _name(ids: pa.Array, series: int) -> str:
    return shown(ids[series].as_py())
