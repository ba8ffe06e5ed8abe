"""Frequencies and times, against pandas."""

import warnings

import pandas as pd
import pytest

from tsfm.numerics.frequency import Frequency, Start

STARTS = ["2024-01-01", "2024-01-15 10:30:00", "2024-02-29T23:00:00", "2023-12-31", "2024-06-08"]
ALIASES = "h 15min 30s 250ms 10us D 2D W W-WED 2W-MON ME 2ME MS 3MS QE QE-JAN QS QS-FEB 2QE YE YE-JUN YS YS-APR B 3B"
OLD = {"H": "h", "T": "min", "5T": "5min", "S": "s", "L": "ms", "M": "ME", "Q": "QE", "A-JUN": "YE-JUN", "AS": "YS"}


@pytest.mark.parametrize("alias", ALIASES.split())
def test_times_are_those_of_pandas(alias):
    for start in STARTS:
        given = Frequency.of(alias).times(Start.of(start), 0, 40)
        assert [pd.Timestamp(text) for text in given] == list(pd.date_range(start, periods=40, freq=alias)), start


@pytest.mark.parametrize("old", OLD)
def test_old_aliases_mean_the_new_ones(old):
    start = Start.of("2024-01-15T10:30")
    assert Frequency.of(old).times(start, 5, 9) == Frequency.of(OLD[old]).times(start, 5, 9)


@pytest.mark.parametrize(
    ("text", "step"),
    [("PT15M", pd.Timedelta("15min")), ("P1D", pd.Timedelta("1D")), ("P2W", pd.Timedelta("14D")),
     ("P1DT12H", pd.Timedelta("36h")), ("PT0.5S", pd.Timedelta("500ms")), ("P3M", pd.DateOffset(months=3)),
     ("P1Y2M", pd.DateOffset(months=14)), ("P1Y", pd.DateOffset(years=1))],
)  # fmt: skip
def test_durations_of_iso_8601_step_from_the_start(text, step):
    start = pd.Timestamp("2024-01-31T06:00")
    given = Frequency.of(text).times(Start.of("2024-01-31T06:00"), 0, 30)
    assert [pd.Timestamp(one) for one in given] == [start + step * at for at in range(30)]


def test_the_first_times_of_a_forecast_follow_the_last_point():
    assert Frequency.of("h").times(Start.of("2024-01-01T01:00:00"), 9, 2) == [
        "2024-01-01T10:00:00", "2024-01-01T11:00:00",
    ]  # fmt: skip


@pytest.mark.parametrize(("start", "zone"), [("2024-01-01T00:00Z", "Z"), ("2024-01-01 00:00+08:00", "+08:00")])
def test_the_offset_of_the_start_stays(start, zone):
    assert Frequency.of("D").times(Start.of(start), 1, 1) == [f"2024-01-02T00:00:00{zone}"]


NONE = "P PT P1M1D P0D P1H 0h x M-JAN WW W-XXX -1h 1.5h D-SUN 9999999h QE-ABC"


@pytest.mark.parametrize("text", ["", *NONE.split()])
def test_what_is_no_frequency_is_refused(text):
    with pytest.raises(ValueError, match="expected a pandas alias such as h, 15min"):
        Frequency.of(text)


@pytest.mark.parametrize(
    "text", ["2024-02-30", "20240101", "x", "2024-1-1", "2024-01-01T25:00", "", "2024-01-01T00:00+8"]
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011  the caller has the words
        Start.of(text)


@pytest.mark.parametrize("alias", ["999999YE", "999999D", "P9999Y", "999999W", "h", "B", "999999B"])
def test_times_beyond_the_last_year_are_refused(alias):
    with warnings.catch_warnings(), pytest.raises(ValueError, match="expected times up to the year 9999"):
        warnings.simplefilter("error")
        Frequency.of(alias).times(Start.of("9999-12-31T20:00"), 40_000, 1024)


def test_a_start_between_two_times_is_moved_to_the_next():
    monthly = Frequency.of("ME")
    assert monthly.moved(Start.of("2024-01-01"))
    assert not monthly.moved(Start.of("2024-01-31T05:00"))


@pytest.mark.parametrize(
    ("text", "points"),
    [
        *(("10s", 360), ("min", 1440), ("15min", 96), ("h", 24), ("PT6H", 4), ("D", 7), ("B", 5)),
        *(("W-SUN", 365.25 / 7), ("2D", 365.25 / 2), ("ME", 12), ("QS", 4), ("P1M", 12), ("YE", 1)),
    ],
)
def test_a_frequency_has_the_season_that_its_series_mostly_have(text, points):
    assert Frequency.of(text).season == pytest.approx(points)
