"""Continues the times of a series: even steps, working days, months and years."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal

import numpy as np
import pandas as pd

from tsfm.table.column import Column

DAY_NS = 86_400_000_000_000
EVEN, MOST_UNEVEN = 0.05, 1 / 3
"""How far a step may differ from the usual one, and the share of steps that may differ further (missing rows)."""
NEWEST = 2000  # rows that decide
_NUMBER = re.compile(r"\d+(?:\.\d*)?")
_ZONE = re.compile(r"(?:Z|UTC|GMT|([+-])(\d{2}):?(\d{2}))$")
_DATE_ALONE = re.compile(r"\d{4}\s*[-/.年]\s*\d{1,2}\s*[-/.月]\s*\d{1,2}日?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}|\d{8}")
_MONTH_ALONE = re.compile(r"\d{4}\s*[-/.年]\s*\d{1,2}月?")


def ahead(column: Column, count: int) -> list[str]:
    """The times of the next steps, written as the column's: numbers as numbers, others in ISO 8601.

    Returns: ``count`` texts; none if the column has no times, or none with a common step.
    """
    if len(column.times) < 2:
        return []
    last = column.times[-1].strip()
    if _NUMBER.fullmatch(last) and not _DATE_ALONE.fullmatch(last):
        return _counted([int(Decimal(text)) for text in column.times[-NEWEST:]], count)
    if column.instants is None:
        return []
    moments = column.instants[-NEWEST:]
    steps = np.diff(moments).astype(np.float64)
    step = float(np.median(steps))
    if step <= 0:
        return []
    zone = _zone(last)
    local = pd.DatetimeIndex(moments.astype("datetime64[ns]")) + zone
    following = _following(local, steps, step, count)
    return [_text(moment, last, zone) for moment in following]


def past(column: Column) -> list[str]:
    """The column's own times in the form of ``ahead``; as they are where they cannot be read, empty if it has none."""
    if not column.times or column.instants is None or column.times[-1].strip().isdecimal():
        return list(column.times)
    last = column.times[-1].strip()
    zone = _zone(last)
    local = pd.DatetimeIndex(column.instants.astype("datetime64[ns]")) + zone
    return [_text(moment, last, zone) for moment in local]


def _counted(numbers: Sequence[int], count: int) -> list[str]:
    """Epochs and numbers of rows go on in their own unit."""
    steps = np.diff(np.array(numbers, dtype=np.float64))
    step = round(float(np.median(steps)))
    if step <= 0 or not _is_even(steps, step):
        return []
    return [str(numbers[-1] + step * k) for k in range(1, count + 1)]


def moments(texts: Sequence[str]) -> Sequence[object]:
    """Times of ``ahead`` or ``past`` as values for pyarrow.

    Numbers stay numbers, others are times, in UTC if zones differ. Texts that are no times stay as they are.
    """
    if all(text.isdecimal() for text in texts):
        return [int(text) for text in texts]
    for utc in (False, True):
        with suppress(ValueError):
            return pd.to_datetime(list(texts), format="ISO8601", utc=utc)  # type: ignore[no-any-return]
    return texts


def seconds(texts: Sequence[str]) -> list[float]:
    """Times of ``ahead`` in seconds since 1970, as UTC where they have no zone; none for numbers."""
    if not texts or all(text.isdecimal() for text in texts):
        return []
    moments_ = pd.to_datetime(list(texts), format="ISO8601", utc=True)
    return [moment.timestamp() for moment in moments_]


def _is_even(steps: Sequence[float] | np.ndarray[tuple[int], np.dtype[np.float64]], step: float) -> bool:
    differs = np.abs(np.asarray(steps) / step - 1) > EVEN
    return bool(differs.mean() <= MOST_UNEVEN)


def _following(
    local: pd.DatetimeIndex, steps: np.ndarray[tuple[int], np.dtype[np.float64]], step: float, count: int
) -> list[pd.Timestamp]:
    last = local[-1]
    if step >= 27 * DAY_NS:
        months = np.diff(local.year * 12 + local.month)
        usual = int(np.median(months))
        if usual < 1 or (months != usual).mean() > MOST_UNEVEN:
            return []
        ends = bool((local.is_month_end).all())
        move = pd.offsets.MonthEnd if ends else pd.DateOffset
        return [last + (move(usual * k) if ends else move(months=usual * k)) for k in range(1, count + 1)]
    if step == DAY_NS and len(local) >= 10 and (local.dayofweek < 5).all():
        return [last + pd.offsets.BDay(k) for k in range(1, count + 1)]
    if not _is_even(steps, step):
        return []
    return [last + pd.Timedelta(round(step) * k, unit="ns") for k in range(1, count + 1)]


def _zone(text: str) -> pd.Timedelta:
    """The time zone's offset at the end of a text; none is as UTC."""
    found = _ZONE.search(text)
    if not found or not found[1] or ":" not in text[: found.start()]:
        return pd.Timedelta(0)
    minutes = int(found[2]) * 60 + int(found[3])
    return pd.Timedelta(minutes=-minutes if found[1] == "-" else minutes)


def _text(moment: pd.Timestamp, like: str, zone: pd.Timedelta) -> str:
    """A time with as much detail as ``like`` has."""
    if _MONTH_ALONE.fullmatch(like):
        return str(moment.strftime("%Y-%m"))
    if _DATE_ALONE.fullmatch(like) and moment == moment.normalize():
        return str(moment.strftime("%Y-%m-%d"))
    text = moment.isoformat("T" if "T" in like else " ")
    found = _ZONE.search(like)
    if not found or ":" not in like[: found.start()]:
        return str(text)
    if not found[1]:
        return f"{text}Z"
    return f"{text}{found[1]}{found[2]}:{found[3]}"
