"""Steps of a time axis, by the names that pandas and ISO 8601 give them, and the times of an evenly spaced series.

The names follow pandas (offset aliases, old and new), its rules too: the first time of a month end, a week that ends
on Sunday or a business day is the next such day, if the start is none. Times are wall-clock times: an offset from UTC
that the start has is kept as it is. Only NumPy is needed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.datetime64]
SECOND_US = 1_000_000
FIXED_US = {
    "D": 86_400 * SECOND_US,
    **dict.fromkeys(("h", "H"), 3_600 * SECOND_US),
    **dict.fromkeys(("min", "T", "m"), 60 * SECOND_US),
    **dict.fromkeys(("s", "S"), SECOND_US),
    **dict.fromkeys(("ms", "L"), 1_000),
    **dict.fromkeys(("us", "U"), 1),
}
# Months of a step, and whether its times are at the start or at the end of their month.
CALENDAR = {
    **dict.fromkeys(("ME", "M"), (1, "end")),
    "MS": (1, "start"),
    **dict.fromkeys(("QE", "Q"), (3, "end")),
    "QS": (3, "start"),
    **dict.fromkeys(("YE", "Y", "A"), (12, "end")),
    **dict.fromkeys(("YS", "AS"), (12, "start")),
}
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
ISO = re.compile(
    r"P(?=.)(?:(?P<years>\d{1,4})Y)?(?:(?P<months>\d{1,4})M)?(?:(?P<weeks>\d{1,4})W)?(?:(?P<days>\d{1,5})D)?"
    r"(?:T(?=.)(?:(?P<hours>\d{1,6})H)?(?:(?P<minutes>\d{1,6})M)?(?:(?P<seconds>\d{1,8}(?:\.\d{1,6})?)S)?)?"
)
START = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)\s?(Z|[+-]\d\d:?\d\d)?)?")
KNOWN = "a pandas alias such as h, 15min, D, W-SUN, ME, QS, YE or B, or an ISO 8601 duration such as PT15M, P1D or P1M"
LAST = np.datetime64("9999-12-31T23:59:59.999999", "us")
# Units in ten thousand years: with more of them, 64 bits might not hold a time.
MOST = {"us": 10_000 * 366 * FIXED_US["D"], "month": 120_000, "business day": 3_660_000}


@dataclass(frozen=True)
class Start:
    """The time of a series' first point.

    Attributes:
        time: the wall-clock time, in microseconds since 1970.
        zone: the text behind it: "", "Z" or an offset such as "+08:00".
    """

    time: int
    zone: str = ""

    @classmethod
    def of(cls, text: str) -> Start:
        """The start that a text in ISO 8601 names.

        Raises:
            ValueError: it is none; the text does not say so.
        """
        match = START.fullmatch(text.strip())
        if not match:
            raise ValueError
        wall = np.datetime64(f"{match[1]}T{match[2] or '00:00'}", "us")  # raises ValueError for 2024-02-30
        return cls(int(wall.astype(np.int64)), match[3] or "")


@dataclass(frozen=True)
class Frequency:
    """The step from one time to the next.

    Attributes:
        text: as the request names it.
        count: units in one step.
        unit: "us", "month" or "business day".
        alignment: of months: "start", "end" or "same" (the day of the first time); of "us": "" or the week's day.
        phase: of months: which of 12 the anchor is, from 0; of weeks: the day, from 0 for Monday.
        cycle: months from one anchor to the next.
    """

    text: str
    count: int
    unit: str
    alignment: str = ""
    phase: int = 0
    cycle: int = 1

    @classmethod
    def of(cls, text: str) -> Frequency:
        """The frequency that a text names.

        Raises:
            ValueError: it names none.
        """
        found = _iso(text) if text.startswith("P") else _alias(text)
        if found is None:
            raise ValueError(f"expected {KNOWN}")
        return found

    @property
    def season(self) -> float:
        """Points of the season that series of this frequency mostly have.

        The season is an hour for steps below a minute, a day for those below a day, a week for days, else a year.
        """
        if self.unit != "us":
            return (12 if self.unit == "month" else 5) / self.count
        day, minute = FIXED_US["D"], FIXED_US["min"]
        if self.count < day:
            return (day if self.count >= minute else 60 * minute) / self.count
        return (7 if self.count == day else 365.25) * day / self.count

    def times(self, start: Start, first: int, count: int) -> list[str]:
        """The times of ``count`` points of a series, from the one at index ``first`` on, in ISO 8601.

        Raises:
            ValueError: the last of them is beyond the year 9999.
        """
        return _texts(self, start, first, count)

    def at(self, start: Start, steps: NDArray[np.int64]) -> Times:
        """The wall-clock times ``steps`` steps after the series' first time."""
        begin = np.datetime64(start.time, "us")
        if self.unit == "business day":
            day = begin.astype("M8[D]")
            return _us(np.busday_offset(day, steps * self.count, roll="forward") + (begin - day))
        if self.unit == "us":
            days_on = (self.phase - (int(begin.astype("M8[D]").astype(np.int64)) + 3) % 7) % 7 if self.alignment else 0
            return _us(begin + np.timedelta64(days_on, "D") + steps * np.timedelta64(self.count, "us"))
        return self._months(begin, steps)

    def moved(self, start: Start) -> bool:
        """Whether the first time is later than the start, which is no time of this frequency."""
        return bool(self.at(start, np.zeros(1, np.int64))[0] != np.datetime64(start.time, "us"))

    def _months(self, begin: np.datetime64, steps: NDArray[np.int64]) -> Times:
        day, month = begin.astype("M8[D]"), begin.astype("M8[M]")
        of_day = begin - day
        if self.alignment == "same":
            months = month + steps * self.count
            last = (months + 1).astype("M8[D]") - months.astype("M8[D]") - np.timedelta64(1, "D")
            return _us(months.astype("M8[D]") + np.minimum(day - month.astype("M8[D]"), last) + of_day)
        if self.alignment == "start" and day != month.astype("M8[D]"):
            month += 1
        months_on = (self.phase - int(month.astype(np.int64))) % self.cycle  # 1970 began with January
        months = month + months_on + steps * self.count
        if self.alignment == "start":
            return _us(months.astype("M8[D]") + of_day)
        return _us((months + 1).astype("M8[D]") - np.timedelta64(1, "D") + of_day)


def _us(times: Times) -> Times:
    return times.astype("M8[us]")


def _alias(text: str) -> Frequency | None:
    match = re.fullmatch(r"(\d{0,6})([A-Za-z]+)(?:-([A-Z]{3}))?", text)
    count = int(match[1] or 1) if match else 0
    if not match or not count:
        return None
    unit, anchor = match[2], match[3]
    if unit == "W" and (anchor or "SUN") in DAYS:
        return Frequency(text, 7 * count * FIXED_US["D"], "us", "week", DAYS.index(anchor or "SUN"))
    if unit in CALENDAR:
        return _calendar(text, count, unit, anchor)
    if anchor:
        return None
    if unit == "B":
        return Frequency(text, count, "business day")
    return Frequency(text, count * FIXED_US[unit], "us") if unit in FIXED_US else None


def _calendar(text: str, count: int, unit: str, anchor: str | None) -> Frequency | None:
    months, alignment = CALENDAR[unit]
    if anchor and (months == 1 or anchor not in MONTHS):
        return None
    phase = MONTHS.index(anchor or ("DEC" if alignment == "end" else "JAN"))
    return Frequency(text, count * months, "month", alignment, phase, months)


def _iso(text: str) -> Frequency | None:
    match = ISO.fullmatch(text)
    if not match:
        return None
    part = {name: float(value or 0) for name, value in match.groupdict().items()}
    months = int(part["years"] * 12 + part["months"])
    days = part["weeks"] * 7 + part["days"]
    us = round(((days * 24 + part["hours"]) * 60 + part["minutes"]) * 60 * SECOND_US + part["seconds"] * SECOND_US)
    if bool(months) == bool(us):  # nothing at all, or months and days together
        return None
    return Frequency(text, months, "month", "same") if months else Frequency(text, us, "us")


@lru_cache(maxsize=256)
def _texts(frequency: Frequency, start: Start, first: int, count: int) -> list[str]:
    if (first + count) * frequency.count > MOST[frequency.unit]:
        raise ValueError(f"expected times up to the year {LAST.astype(object).year}")
    times = frequency.at(start, np.arange(first, first + count))
    if len(times) and times[-1] > LAST:
        raise ValueError(f"expected times up to the year {LAST.astype(object).year}")
    parts = times.astype(np.int64)
    unit: Literal["s", "ms", "us"] = "us" if (parts % 1000).any() else "ms" if (parts % SECOND_US).any() else "s"
    return [text + start.zone for text in np.datetime_as_string(times, unit=unit).tolist()]
