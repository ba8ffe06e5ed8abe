"""The step between the times of a table: told from them, or named and held against them."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tsfm.errors import BadRequest
from tsfm.http.formats.clock import rhythm

STEPS = {
    "15min": ("2024-01-01T00:00", "2024-01-01T00:15", "2024-01-01T00:30"),
    "1h": ("2024-01-01T23:00", "2024-01-02T00:00", "2024-01-02T01:00"),
    "1D": ("2024-02-28", "2024-02-29", "2024-03-01"),
    "7D": ("2024-01-07", "2024-01-14", "2024-01-21"),
    "B": ("2024-01-04", "2024-01-05", "2024-01-08"),
    "P1M": ("2024-01-01", "2024-02-01", "2024-03-01"),
    "1ME": ("2024-02-29", "2024-03-31", "2024-04-30"),
    "P3M": ("2024-01-15", "2024-04-15", "2024-07-15"),
    "P12M": ("2021-01-01", "2022-01-01", "2023-01-01"),  # as even in days
    "500ms": ("2024-01-01T00:00:00.0", "2024-01-01T00:00:00.5", "2024-01-01T00:00:01.0"),
    "PT1.234567S": ("2024-01-01T00:00:00", "2024-01-01T00:00:01.234567", "2024-01-01T00:00:02.469134"),
}


def column(stamps, kind="us") -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(np.array(stamps, "M8[us]")).cast(pa.timestamp(kind))])


def told(stamps: pa.ChunkedArray, bounds=None, freq=None):
    bounds = np.array(bounds or [0, len(stamps)])
    return rhythm(stamps, bounds, pa.array([f"item {at}" for at in range(len(bounds) - 1)]), freq)


@pytest.mark.parametrize("freq", STEPS)
def test_the_step_is_told_from_the_times(freq):
    found = told(column(STEPS[freq]))
    assert found.freq.text == freq
    assert found.start(0) == str(np.datetime64(STEPS[freq][0], "us"))


def test_all_series_share_the_step_whatever_their_starts():
    stamps = column([*STEPS["1ME"], "2023-12-31", *STEPS["1ME"][:2]])
    found = told(stamps, [0, 3, 4, 6])
    assert found.freq.text == "1ME"
    assert [found.start(at)[:10] for at in range(3)] == ["2024-02-29", "2023-12-31", "2024-02-29"]


@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("ns"), pa.date32(), pa.date64()])
def test_every_type_of_times_is_read_and_written(kind):
    stamps = pa.chunked_array([pa.array(np.array(STEPS["1D"], "M8[s]")).cast(kind)])
    clock = told(stamps).clock
    assert clock.write(clock.read(stamps).astype("M8[us]")).equals(stamps.combine_chunks())


@pytest.mark.parametrize(
    ("start", "step", "freq", "local"),
    [
        ("2024-03-30T00:00", "1D", "1D", True),
        ("2024-03-30T22:00", "1h", "1h", False),
        ("2024-10-01", "P1M", "P1M", True),
    ],
)
def test_days_and_months_are_those_of_the_zones_clocks_and_hours_are_even(start, step, freq, local):
    wall = pa.array(np.array([start], "M8[s]"))
    if step == "1h":  # across the hour that is skipped in spring
        stamps = wall.cast(pa.timestamp("s", "UTC")).cast(pa.timestamp("s", "Europe/Berlin"))
        stamps = pa.concat_arrays([pc.add(stamps, pa.scalar(at * 3600, pa.duration("s"))) for at in range(5)])
    else:
        begin = np.datetime64(start, "s")
        steps = begin + np.arange(4) * np.timedelta64(1, "D")
        if step == "P1M":
            steps = np.array(["2024-10-01", "2024-11-01", "2024-12-01", "2025-01-01"], "M8[s]")
        stamps = pc.assume_timezone(pa.array(steps), "Europe/Berlin")
    found = told(pa.chunked_array([stamps]))
    assert (found.freq.text, found.clock.local) == (freq, local)
    back = found.clock.write(found.clock.read(pa.chunked_array([stamps])).astype("M8[us]"))
    assert back.equals(stamps)


def test_days_of_utc_in_another_zone_stay_days_of_utc():
    stamps = pa.array(np.datetime64("2024-03-29T12:00", "s") + np.arange(4) * np.timedelta64(1, "D"))
    found = told(pa.chunked_array([stamps.cast(pa.timestamp("s", "UTC")).cast(pa.timestamp("s", "Europe/Berlin"))]))
    assert (found.freq.text, found.clock.local) == ("1D", False)


WRONG = {
    'expected the times of an item oldest first, got 2024-01-01T00:00:00 after 2024-01-01T00:15:00 in item "item 0"': (
        ["2024-01-01T00:15", "2024-01-01T00:00"],
        None,
        None,
    ),
    'expected the times of an item once each, got 2024-01-01T00:00:00 twice in item "item 1"': (
        [*STEPS["1h"], "2024-01-01", "2024-01-01"],
        [0, 3, 5],
        None,
    ),
    'expected even steps, the same for all items, but item "item 0" goes from 2024-01-02T00:00:00 to '
    "2024-01-02T02:00:00, where most steps are 1h": ([*STEPS["1h"][:2], "2024-01-02T02:00"], None, None),
    'item "item 1" goes from 2024-01-01T00:00:00 to 2024-01-01T00:15:00, where most steps are 1h': (
        [*STEPS["1h"], *STEPS["15min"][:2]],
        [0, 3, 5],
        None,
    ),
    'expected steps of freq h, but item "item 0" has 2024-01-01T00:15:00 as its row 2': (STEPS["15min"], None, "h"),
    "freq: expected one such as h or D, since no item has two rows": (["2024-01-01", "2024-01-01"], [0, 1, 2], None),
    "freq: expected a pandas alias such as h": (STEPS["1h"], None, "hourly"),
}


@pytest.mark.parametrize("sentence", WRONG)
def test_times_that_do_not_go_on_evenly_are_refused_in_words(sentence):
    stamps, bounds, freq = WRONG[sentence]
    with pytest.raises(BadRequest) as refused:
        told(column(stamps), bounds, freq)
    assert sentence in str(refused.value)


def test_a_named_step_makes_one_row_enough():
    assert told(column(["2024-01-01", "2024-01-01"]), [0, 1, 2], "h").freq.text == "h"


@pytest.mark.parametrize(
    ("stamps", "sentence"),
    [
        (pa.array(["2024-01-01"]), "expected a column of timestamps or dates, got string"),
        (pa.array([1.5]), "expected a column of timestamps or dates, got double"),
        (pa.array([1, None], pa.timestamp("s")), "expected a time in every row, got 1 nulls"),
        (pa.array([1, 2], pa.timestamp("ns")), "expected whole microseconds and a known time zone, but: Casting"),
        (pa.array([0, 86400], pa.timestamp("s", "Mars/Olympus")), "expected whole microseconds and a known time zone"),
    ],
)
def test_a_column_that_holds_no_times_is_refused_in_words(stamps, sentence):
    with pytest.raises(BadRequest, match=sentence):
        told(pa.chunked_array([stamps]))
