"""Requests and answers of POST /imputation; no model and no torch."""

import json
import subprocess
import sys

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsfm import settings
from tsfm.engine import grid, imputation
from tsfm.errors import BadRequest, ModelFailed, TooLarge
from tsfm.numerics import scaling
from tsfm.series import Capabilities, Series

LIMITS = settings.read("moment", {})
DAY_NS = 86_400_000_000_000
STEPS_NS = {
    "1W": 7 * DAY_NS,
    "1D": DAY_NS,
    "d": DAY_NS,
    "12H": DAY_NS // 2,
    "2h": DAY_NS // 12,
    "5T": 300 * 10**9,
    "90min": 5400 * 10**9,
    "m": 60 * 10**9,
    "1S": 10**9,
    "s": 10**9,
    "30s": 30 * 10**9,
    "1L": 10**6,
    "250ms": 250 * 10**6,
    "1U": 10**3,
    "10us": 10**4,
    "1N": 1,
    "100ns": 100,
}


def request(values=None, step=1000, start=1_700_000_000_000, **more):
    """A request with rows ``step`` apart; a row whose value is "drop" is left out."""
    values = [float(i) for i in range(12)] if values is None else values
    rows = [(start + step * i, v) for i, v in enumerate(values) if v != "drop"]
    body = {"input": [v for _, v in rows], "ts": [t for t, _ in rows], "precision": "ms", "freq": "1S"}
    return body | more


def parse(body):
    return imputation.read(body, LIMITS)


def refused(body, kind=BadRequest):
    with pytest.raises(kind) as caught:
        parse(body)
    return str(caught.value)


def test_holes_are_where_the_grid_has_no_row():
    checked = parse(request([1.0, 2.0, "drop", "drop", 5.0, *range(6, 14)]))
    assert checked.times.tolist() == [1_700_000_000_000 + 1000 * i for i in range(13)]
    assert np.flatnonzero(np.isnan(checked.target)).tolist() == [2, 3]
    assert checked.series.target[4] == 5


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_a_row_without_a_value_is_a_hole_too_even_at_the_ends(nothing):
    checked = parse(request([nothing, *range(10), nothing]))
    assert np.flatnonzero(np.isnan(checked.target)).tolist() == [0, 11]


def test_observed_points_come_back_bit_by_bit():
    values = [0.1, 1e-310, -0.0, 1.7976931348623157e308, "drop", 3, 1 / 3, 2**53, -7.25e-12, 5.5, 6, 7]
    checked = parse(request(values))
    answer = imputation.finish(checked, np.linspace(0, 1, 12))
    observed = [float(v) for v in values if v != "drop"]
    back = answer["target"][answer["mask"] == 0]
    assert back.tobytes() == np.array(observed).tobytes()
    assert answer["target"][4] == pytest.approx(4 / 11)


def test_whole_numbers_beyond_two_to_the_53_come_back_exactly():
    values = [2**60 + 1, 2**60 + 3, "drop", 2**60 + 7, *[2**60 + 9 + step for step in range(8)]]
    checked = parse(request(values))
    assert checked.origin == 2**60 + 1
    answer = imputation.finish(checked, np.where(np.isnan(checked.target), 4.4, checked.target))
    assert answer["target"] == [*values[:2], 2**60 + 5, *values[3:]]
    assert json.loads(orjson.dumps(answer, default=np.ndarray.tolist))["target"] == answer["target"]


def test_whole_numbers_among_others_come_back_exactly_too():
    values = [2**60 + 1, 0.5, None, -(2**62) - 1, 10**30, *range(8)]
    answer = imputation.finish(parse(request(values)), np.full(13, 7.25))
    assert answer["target"] == [2**60 + 1, 0.5, 7.25, -(2**62) - 1, 1e30, *range(8)]


def test_an_unknown_field_is_named_in_a_warning():
    checked = parse(request(interval="1m"))
    (warning,) = imputation.finish(checked, np.zeros(12))["warnings"]
    assert warning == "interval: not understood and ignored; known are input, ts, precision, freq"


def test_whole_timestamps_may_be_written_with_a_point():
    body = request([1.0, 2.0, "drop", 4.0, *range(9)])
    checked, same = parse(body | {"ts": [float(time) for time in body["ts"]]}), parse(body)
    assert checked.times.tolist() == same.times.tolist()


def test_a_day_of_23_hours_is_named_as_a_likely_cause():
    hours = [24 * day - (day > 5) for day in range(12)]
    body = {"input": [*range(12)], "ts": hours, "precision": "h", "freq": "1D"}
    assert refused(body).startswith(
        "ts[6]: expected a whole number of steps of freq (24) after the first timestamp, got"
    )
    assert refused(body).endswith("; where clocks change, a local day has 23 or 25 hours: send days in UTC")
    seconds = {"ts": [3600 * hour for hour in hours], "precision": "s"}
    assert "23 or 25 hours" in refused(body | seconds)
    assert refused(body | {"ts": [10 * hour for hour in hours], "freq": "7h"}).endswith("got 240 after 0")


def test_a_month_that_is_no_freq_is_named_as_a_likely_cause():
    days = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304]
    body = {"input": [*range(11)], "ts": days, "precision": "d", "freq": "31d"}
    assert refused(body).endswith("; months have 28 to 31 days, and no freq is a month")
    assert refused(body | {"freq": "2d"}).endswith("got 31 after 0")


@pytest.mark.parametrize("precision", grid.PRECISIONS_NS)
@pytest.mark.parametrize("unit", grid.UNITS_NS)
@pytest.mark.parametrize("rows", [1, 2])
def test_a_huge_freq_is_answered_or_refused_in_words(unit, precision, rows):
    few = settings.read("moment", {"min_rows": "1"})
    for count in (1, 2**31, 10**17, 999_999_999_999_999_999):
        step, rest = divmod(count * grid.UNITS_NS[unit], grid.PRECISIONS_NS[precision])
        body = {"input": [1.5] * rows, "ts": [-(2**63), 5][:rows], "precision": precision, "freq": f"{count}{unit}"}
        if rows == 1 and not rest and step < 2**63:
            assert imputation.read(body, few).times.tolist() == [-(2**63)]
            continue
        with pytest.raises(BadRequest) as caught:
            imputation.read(body, few)
        field = str(caught.value).partition(": ")[0]
        assert field in ("freq", "ts[1]")
        assert field == "freq" or step < 2**63


def test_the_answer_has_the_contracts_fields_of_equal_length():
    checked = parse(request([1, 2, "drop", 4, *range(5, 13)]))
    fields = imputation.finish(checked, np.zeros(12, np.float32))
    wire = json.loads(orjson.dumps(fields, default=np.ndarray.tolist))
    assert list(wire) == ["status", "ts", "target", "mask"]
    assert wire["status"] == "success"
    assert wire["mask"] == [0, 0, 1] + [0] * 9
    assert all(type(time) is int for time in wire["ts"])
    assert all(type(value) is float for value in wire["target"])


def test_a_series_without_holes_is_answered_as_it_came():
    checked = parse(request())
    answer = imputation.finish(checked, np.zeros(12))
    assert answer["target"].tolist() == [float(i) for i in range(12)]
    assert not answer["mask"].any()


@pytest.mark.parametrize("precision", grid.PRECISIONS_NS)
@pytest.mark.parametrize("freq", STEPS_NS)
def test_every_freq_works_in_every_precision_that_can_hold_it(precision, freq):
    unit = grid.PRECISIONS_NS[precision]
    if STEPS_NS[freq] % unit:
        message = refused(request(precision=precision, freq=freq))
        assert message.startswith("freq: expected a multiple of the precision")
        assert f'got "{freq}"' in message
        return
    step = STEPS_NS[freq] // unit
    checked = parse(request([*range(8), "drop", 9, 10], step=step, start=-3, precision=precision, freq=freq))
    assert checked.times.tolist() == [-3 + step * i for i in range(11)]
    assert np.flatnonzero(np.isnan(checked.target)).tolist() == [8]


def test_precision_and_freq_default_to_milliseconds():
    body = request([*range(8), "drop", 9, 10], step=1)
    del body["precision"], body["freq"]
    assert np.diff(parse(body).times).tolist() == [1] * 10


def test_a_missing_freq_in_seconds_says_what_was_assumed():
    assert refused(request(step=1, precision="s", freq=None)).endswith("which is 1s, got the default 1L")


@pytest.mark.parametrize(
    "freq", ["", "0S", "-1S", "1.5H", "M", "MS", "1 S", "fast", "S1", 5, True, [], "9" * 40 + "S", "١S"]
)
def test_a_freq_that_is_none_is_refused(freq):
    assert refused(request(freq=freq)).startswith("freq: expected a unit out of d, h, m, s, ms, us, ns, W,")


@pytest.mark.parametrize("precision", ["", "MS", "min", 1, {}, "x" * 100])
def test_a_precision_that_is_none_is_refused(precision):
    assert refused(request(precision=precision)).startswith("precision: expected one of d, h, m, s, ms, us, ns, got ")


def test_a_freq_so_fine_that_the_grid_explodes_is_refused_before_it_is_made():
    body = request(step=1_000_000_000_000, freq="1L")
    message = refused(body)
    assert "makes a grid of 11000000000001 points of which 10999999999989 are missing" in message
    assert message.endswith("the closest timestamps are 1000000000000ms apart")


def test_timestamps_from_one_end_of_64_bits_to_the_other_do_not_overflow():
    low, high = -(2**63), 2**63 - 1
    step = (high - low) // 15
    times = [low + step * i for i in range(16) if i != 5]
    body = {"input": list(range(15)), "ts": times, "precision": "ns", "freq": f"{step}N"}
    message = refused(body)  # 19 digits
    assert message.startswith("freq:")
    body["freq"] = "1N"
    assert f"a grid of {step * 15 + 1} points" in refused(body)
    body["freq"] = f"{step // 3 // 10**12 * 10**12}N"
    assert refused(body).startswith("ts[1]: expected a whole number of steps of freq")


def test_at_most_2048_points_are_filled():
    rows = list(range(10))
    most = parse(request([*rows[:5], *["drop"] * 2048, *rows[5:]]))
    assert np.count_nonzero(np.isnan(most.target)) == 2048
    message = refused(request([*rows[:5], *["drop"] * 2049, *rows[5:]]))
    assert message.startswith("freq: expected at most 2048 points to fill")
    assert "2059 points of which 2049 are missing" in message
    message = refused(request([None] * 2049 + rows))
    assert "2059 points of which 2049 are missing" in message


def test_ten_to_8192_rows_are_taken():
    assert len(parse(request(list(range(10)))).target) == 10
    assert len(parse(request(list(range(8192)))).target) == 8192
    assert refused(request(list(range(9)))) == "input: expected at least 10 points, got 9"
    assert refused(request(list(range(8193))), TooLarge) == "input: expected at most 8192 points, got 8193"


def test_a_lower_limit_in_the_settings_holds():
    lower = settings.read("moment", {"max_rows": "20"})
    with pytest.raises(TooLarge, match="at most 20 points, got 21"):
        imputation.read(request(list(range(21))), lower)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ts": [0, 1000, 1000]}, "ts[2]: expected each timestamp once, got 1000 again"),
        ({"ts": [0, 2000, 1000]}, "ts[2]: expected oldest first, got 1000 after 2000"),
        ({"ts": [0, 1000, 2001]}, "ts[2]: expected a whole number of steps of freq (1000) after the first"),
        ({"ts": None}, "ts: expected a list of whole numbers, got null"),
        ({"ts": "now"}, "ts: expected a list of whole numbers, got "),
        ({"ts": [0, 1000, 2000.5]}, "ts[2]: expected a whole number, got 2000.5"),
        ({"ts": [0, 1000, -(2**63)]}, "ts[2]: expected oldest first, got -9223372036854775808 after 1000"),
        ({"ts": [0, 1000, True]}, "ts[2]: expected a whole number, got true"),
        ({"ts": [0, 1000, 2**64]}, "ts: expected whole numbers of at most 64 bits"),
        ({"ts": [0]}, "ts: expected 12 timestamps, one for each point of input, got 1"),
        ({"input": None}, "input: expected a list of numbers, got nothing"),
        ({"input": [1, "2"]}, 'input[1]: expected a number or null, got "2"'),
        ({"input": [1, float("inf")]}, "input[1]: expected a finite number"),
        ({"input": [None] * 12}, "input: expected at least one number, got 12 missing values"),
    ],
)
def test_a_bad_request_names_the_field_and_what_came(change, message):
    body = request()
    if isinstance(change.get("ts"), list) and len(change["ts"]) == 3:
        change = {"ts": change["ts"] + [3000 + 1000 * i for i in range(9)]}
    assert message in refused(body | change)


def test_a_missing_ts_is_refused():
    body = request()
    del body["ts"]
    assert refused(body).startswith("ts: expected a list of whole numbers")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=15) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


@pytest.mark.slow
@given(st.fixed_dictionaries({}, optional={k: json_values for k in ("input", "ts", "precision", "freq")}))
def test_whatever_comes_is_answered_or_refused_in_words(body):
    try:
        parse(body)
    except (BadRequest, TooLarge) as error:
        assert str(error).partition(":")[0].partition("[")[0] in ("input", "ts", "precision", "freq")


@given(
    st.sets(st.integers(0, 300), min_size=10, max_size=60),
    st.integers(1, 10**6),
    st.integers(-(10**15), 10**15),
)
def test_every_row_lies_on_the_grid_at_its_own_time(places, step, start):
    rows = sorted(places)
    body = {"input": rows, "ts": [start + step * p for p in rows], "precision": "ns", "freq": f"{step}N"}
    checked = parse(body)
    observed = ~np.isnan(checked.target)
    assert checked.times[observed].tolist() == body["ts"]
    assert checked.target[observed].tolist() == rows
    assert len(checked.times) == rows[-1] - rows[0] + 1


class Bends:
    """Fills every hole with a number of its own choice."""

    max_context, min_context, batch_points, path = 10_000, 1, 10_000, "numpy"
    capabilities = Capabilities(imputation=True, missing_values=True)

    def __init__(self, value):
        self.value = value

    def impute(self, batch):
        return [np.where(np.isnan(series.target), self.value, series.target) for series in batch]


def test_the_model_sees_unit_spread_and_its_answer_comes_back_in_the_inputs_unit():
    target = np.array([1e9, 1e9 + 2, np.nan, 1e9 + 2, 1e9])
    (filled,) = scaling.impute(Bends(1.0), [Series(target)])
    assert filled[2] == pytest.approx(1e9 + 2)


def test_a_constant_series_is_filled_with_its_constant_without_the_model():
    flat, moving = np.array([np.nan, 3.5, np.nan, 3.5]), np.array([0.0, np.nan, 1.0, 0.0])
    one, other = scaling.impute(Bends(0.0), [Series(flat), Series(moving)])
    assert one.tolist() == [3.5] * 4
    assert other[1] == pytest.approx(1 / 3)


def test_a_model_that_gives_no_numbers_has_failed():
    with pytest.raises(ModelFailed, match="not numbers"):
        scaling.impute(Bends(np.inf), [Series(np.array([0.0, np.nan, 1.0]))])


def test_neither_torch_nor_pandas_is_needed():
    code = "import sys, tsfm.engine.imputation; assert not {'torch', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
