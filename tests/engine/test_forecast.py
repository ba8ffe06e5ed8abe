"""The edge: what is accepted, and the sentence for what is not."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsfm import settings
from tsfm.engine import fields, forecast
from tsfm.errors import BadRequest, RequestError, TooLarge
from tsfm.numerics import exact
from tsfm.series import Capabilities

LIMITS = settings.read("naive", {})
GOOD = {"input": list(range(12))}


def request(**fields):
    return forecast.read(GOOD | fields, LIMITS)


def test_what_is_missing_has_the_contracts_defaults():
    checked = request()
    assert (checked.horizon, checked.confidence) == (10, 0.95)
    assert checked.levels == (0.025, 0.975)
    assert checked.series.schema == (0, 0)


def test_levels_are_exact_so_that_a_trained_quantile_is_hit():
    assert request(conf_interval=0.8).levels == (0.1, 0.9)
    assert request(conf_interval=0).levels == (0.5, 0.5)


def test_a_whole_number_may_be_written_with_a_point():
    assert request(next_len=12.0).horizon == 12


@pytest.mark.parametrize("field", ["next_len", "conf_interval", "ts", "past_dynamic_real", "dynamic_real"])
def test_null_means_the_default_of_every_optional_field(field):
    checked, plain = request(**{field: None}), request()
    assert (checked.horizon, checked.levels, checked.series.schema) == (
        plain.horizon,
        plain.levels,
        plain.series.schema,
    )
    assert not checked.warnings


def test_timestamps_are_compared_whatever_lies_between_them():
    request(ts=[-(2**63), *range(1_772_323_200_000, 1_772_323_200_011)])  # pandas' missing time, as the first
    request(ts=[-(2**63)] * 6 + [2**63 - 1] * 6)
    request(ts=[float(1_772_323_200_000 + step) for step in range(12)])  # as pandas writes a column with gaps


def test_an_unknown_field_is_named_in_a_warning():
    (warning,) = request(horizon=48).warnings
    assert warning.startswith("horizon: not understood and ignored; known are input, next_len, conf_interval, ts, ")
    many = request(**{f"x{i}": i for i in range(20)}).warnings
    assert len(many) == fields.MOST_WARNINGS + 1
    assert many[-1] == "12 more fields: not understood and ignored"
    odd = json.loads('{"\\ud800": 1, "%s": 2, "\u540d": 3}' % ("y" * 5000))
    names = [warning.partition(": ")[0] for warning in fields.unknown(odd, forecast.FIELDS)]
    assert all(name.encode() and len(name) <= 40 for name in names)  # each can be written as JSON
    assert names[2] == "\u540d"


def test_covariates_keep_their_gaps_even_where_nothing_is_known():
    checked = request(next_len=2, past_dynamic_real=[[None] * 12], dynamic_real=[[1] * 12 + [None] * 2])
    assert np.isnan(checked.series.past_covariates).all()
    assert np.isnan(checked.series.future_covariates).sum() == 2


COUNTER = [10**18 + step for step in (0, 1, 3, 4, 6, 7, 9, 10, 12, 13, 15, 16)]


def test_whole_numbers_beyond_two_to_the_53_keep_their_last_digits():
    checked = request(input=COUNTER)
    assert checked.origin == 10**18
    assert checked.series.target.tolist() == [0, 1, 3, 4, 6, 7, 9, 10, 12, 13, 15, 16]
    gaps = request(input=[None, *COUNTER, None])
    assert gaps.origin == 10**18
    assert np.isnan(gaps.series.target).tolist() == [True] + [False] * 12 + [True]
    negative = request(input=[-value for value in COUNTER])
    assert negative.series.target.tolist() == [-0, -1, -3, -4, -6, -7, -9, -10, -12, -13, -15, -16]
    covariate = request(past_dynamic_real=[COUNTER]).series.past_covariates[0]
    assert np.diff(covariate).tolist() == np.diff([value - 10**18 for value in COUNTER]).tolist()


@pytest.mark.parametrize("values", [[1.5, *COUNTER], [*range(12)], [2**53] * 12, [10**30 + i for i in range(12)]])
def test_other_numbers_are_taken_as_they_are(values):
    checked = request(input=values)
    assert checked.origin == 0
    assert checked.series.target.tolist() == [float(value) for value in values]


def test_what_was_taken_off_comes_back_as_whole_numbers_of_64_bits_or_as_a_float():
    assert exact.offset_added(np.array([0.4, 17.6]), 10**18) == [10**18, 10**18 + 18]
    assert exact.offset_added(np.array([-1e300, 1e300, 0.0]), 2**63) == [-1e300, 1e300, 2**63]
    plain = np.array([0.4])
    assert exact.offset_added(plain, 0) is plain


def test_null_and_bare_nan_are_missing_values():
    body = fields.decode(b'{"input": [1, null, NaN, 4.5, 1, 2, 3, 4, 5, 6]}')
    target = forecast.read(body, LIMITS).series.target
    assert np.isnan(target).tolist() == [False, True, True] + [False] * 7
    assert target[3] == 4.5


def test_integers_beyond_64_bits_are_numbers():
    body = fields.decode(b'{"input": [%s]}' % b",".join([b"123456789012345678901234567890"] * 10))
    assert forecast.read(body, LIMITS).series.target[0] == 123456789012345678901234567890.0


def test_covariates_have_the_lengths_of_the_contract():
    checked = request(next_len=3, past_dynamic_real=[[1] * 12], dynamic_real=[[2] * 15, [None] + [3] * 14])
    assert checked.series.past_covariates.shape == (1, 12)
    assert checked.series.future_covariates.shape == (2, 15)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"input": None}, "input: expected a list of numbers, got nothing"),
        ({"input": "1,2"}, 'input: expected a list of numbers, got "1,2"'),
        ({"input": {}}, "input: expected a list of numbers, got an object"),
        ({"input": [1] * 9}, "input: expected at least 10 points, got 9"),
        ({"input": [1, "x"] * 9}, 'input[1]: expected a number or null, got "x"'),
        ({"input": [1, 2, True] * 9}, "input[2]: expected a number or null, got true"),
        ({"input": [[1]] * 12}, "input[0]: expected a number or null, got a list"),
        ({"input": [math.inf] * 12}, "input[0]: expected a finite number, got infinity"),
        ({"input": [1, 10**400] * 6}, "input[1]: expected a number up to 1.8e308, got a larger one"),
        ({"input": [None] * 12}, "input: expected at least one number, got 12 missing values"),
        ({"next_len": 0}, "next_len: expected a whole number from 1 to 1024, got 0"),
        ({"next_len": 1025}, "next_len: expected a whole number from 1 to 1024, got 1025"),
        ({"next_len": True}, "next_len: expected a whole number from 1 to 1024, got true"),
        ({"next_len": 1.5}, "next_len: expected a whole number from 1 to 1024, got 1.5"),
        ({"conf_interval": 1}, "conf_interval: expected a number from 0 to below 1, got 1"),
        ({"conf_interval": "0.9"}, 'conf_interval: expected a number from 0 to below 1, got "0.9"'),
        ({"conf_interval": math.nan}, "conf_interval: expected a number from 0 to below 1, got NaN"),
        ({"ts": [1, 2]}, "ts: expected 12 timestamps, one for each point of input, got 2"),
        ({"ts": [1.5] * 12}, "ts[0]: expected a whole number, got 1.5"),
        ({"ts": [2**70] * 12}, "ts: expected whole numbers of at most 64 bits, got a larger one"),
        ({"ts": list(range(12, 0, -1))}, "ts: expected oldest first, got an earlier timestamp at position 1"),
        ({"dynamic_real": [[1] * 12]}, "dynamic_real[0]: expected 22 numbers, got 12"),
        ({"dynamic_real": 5}, "dynamic_real: expected a list of lists of numbers, got 5"),
        (
            {"past_dynamic_real": [1] * 12},
            "past_dynamic_real: expected a list of lists of numbers, one list for each covariate, got 1 at position 0",
        ),
        ({"dynamic_real": [[1] * 22, "x"]}, 'one list for each covariate, got "x" at position 1'),
        ({"ts": [0.5, *range(1, 12)]}, "ts[0]: expected a whole number, got 0.5"),
        ({"ts": [math.nan] * 12}, "ts[0]: expected a whole number, got NaN"),
        ({"ts": [1e300] * 12}, "ts: expected whole numbers of at most 64 bits, got a larger one"),
        ({"ts": [True] * 12}, "ts[0]: expected a whole number, got true"),
        ({"ts": [*range(11), -(2**63)]}, "ts: expected oldest first, got an earlier timestamp at position 11"),
        (
            {"ts": [2**63 - 1, -(2**63), *range(10)]},
            "ts: expected oldest first, got an earlier timestamp at position 1",
        ),
    ],
)
def test_a_bad_field_is_named_with_what_was_expected_and_what_came(fields, sentence):
    with pytest.raises(BadRequest) as error:
        request(**fields)
    assert sentence in str(error.value)


def test_too_many_points_are_told_from_bad_ones():
    with pytest.raises(TooLarge, match="input: expected at most 40000 points, got 40001"):
        request(input=[1] * 40_001)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "body: expected JSON"),
        (b"[1]", "body: expected a JSON object, got a list"),
        (b'"x"', "body: expected a JSON object, got text"),
        (b'{"input": [1,', "body: expected JSON, but at position"),
        (b'{"a": "\xff"}', "body: expected JSON in UTF-8, got invalid bytes at position 7"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"input": [' + b"9" * 5000 + b"]}", "thousands of digits"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused_in_words(body, sentence):
    with pytest.raises(BadRequest) as error:
        fields.decode(body)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("fields", "can", "how"),
    [
        ({}, Capabilities(), None),
        ({"dynamic_real": [[1] * 22]}, Capabilities(past_covariates=True), "regression"),
        ({"dynamic_real": [[1] * 22]}, Capabilities(future_covariates=True), "native"),
        ({"past_dynamic_real": [[1] * 12]}, Capabilities(past_covariates=True), "native"),
        (
            {"past_dynamic_real": [[1] * 12], "dynamic_real": [[1] * 22]},
            Capabilities(past_covariates=True),
            "regression",
        ),
    ],
)
def test_covariates_are_used_by_the_model_where_it_takes_them_all_else_by_a_regression(fields, can, how):
    assert forecast.covariates_how(request(**fields).series, can) == how


def test_the_least_context_counts_observed_points_that_the_model_sees():
    series = request(input=[1.0, 2.0, 3.0] + [None] * 9).series
    fields.check_context(series, 12, 3, "naive")
    with pytest.raises(BadRequest, match=r"at least 2 observed points among the newest 10, got 1"):
        fields.check_context(series, 10, 2, "naive")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(), inner, max_size=3),
)
FIELDS = ("input", "next_len", "conf_interval", "ts", "dynamic_real", "past_dynamic_real")


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_any_json_is_answered_or_refused_in_one_short_sentence(made):
    try:
        body = fields.decode(json.dumps(made).encode())
        checked = forecast.read(GOOD | body, LIMITS)
    except RequestError as error:
        assert error.status in (400, 413)
        assert "\n" not in str(error)
        assert len(str(error)) < 200
    else:
        assert checked.horizon >= 1


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(data):
    try:
        assert isinstance(fields.decode(data), dict)
    except BadRequest as error:
        assert str(error).startswith("body: ")


def test_more_covariates_than_allowed_are_refused_before_they_are_read():
    body = {"input": [1.0] * 10, "past_dynamic_real": ["x"] * 40, "dynamic_real": ["x"] * 25}
    with pytest.raises(TooLarge, match="covariates: expected at most 64, got 65"):
        forecast.read(body, LIMITS)


def test_an_interval_of_nearly_everything_stays_between_quantiles_that_exist():
    request = forecast.read({"input": [1.0] * 10, "conf_interval": 1 - 1e-16}, LIMITS)
    assert request.levels == (1e-6, 1 - 1e-6)
