"""What a request under /v1 may hold: one bad series is refused in its place, what holds for all refuses all."""

import numpy as np
import pytest

from tsfm import settings
from tsfm.engine.v1 import forecast, inputs
from tsfm.errors import BadRequest, TooLarge
from tsfm.series import Series

LIMITS = settings.read("naive", {"max_series": "5", "max_rows": "50", "max_covariates": "2"})
TARGET = [1.0, 2, None, 4]


def read(*entries, horizon=2):
    found, warnings = inputs.read({"inputs": list(entries)}, LIMITS, horizon)
    return found, warnings


def refusal(entry, horizon=2):
    (found,), _ = read(entry, horizon=horizon)
    assert isinstance(found, inputs.Refused), found
    return str(found.error)


def parameters(**asked):
    return forecast.read({"inputs": [{"target": TARGET}], "parameters": asked}, LIMITS)


def test_one_bad_series_leaves_the_others_and_keeps_its_id():
    (good, bad, other), _ = read(
        {"target": TARGET}, {"item_id": "b", "target": "x"}, {"item_id": 7, "target": [[1, 2], [3, 4]]}
    )
    assert isinstance(good, inputs.Entry)
    assert (bad.item_id, str(bad.error)) == ("b", 'target: expected a list of numbers, got "x"')
    assert (other.item_id, other.flat, len(other.targets)) == (7, False, 2)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (3, "expected an object with a target, got 3"),
        ({}, "target: expected a list of numbers, got nothing"),
        ({"target": []}, "target: expected at least one number, got 0 missing values"),
        ({"target": [None, None]}, "target: expected at least one number, got 2 missing values"),
        ({"target": [1, True]}, "target[1]: expected a number or null, got true"),
        ({"target": [[1, 2], [3]]}, "target: expected variates of one length, got 1, 2 points"),
        ({"target": [[1, 2], 3]}, "target[1]: expected a list of numbers, got 3"),
        ({"target": [1] * 51}, "target: expected at most 50 points, got 51"),
        ({"target": np.ones(51)}, "target: expected at most 50 points, got 51"),
        ({"target": [1], "item_id": [1]}, "item_id: expected text of at most 200 characters, got a list"),
        ({"target": [1], "item_id": "x" * 201}, "item_id: expected text of at most 200 characters"),
        ({"target": [1], "start": "today"}, "start: expected a time in ISO 8601 such as 2024-01-31T12:00:00, got"),
        ({"target": [1], "start": 5}, "start: expected a time in ISO 8601 such as 2024-01-31T12:00:00, got 5"),
        ({"target": TARGET, "past_covariates": [1]}, "past_covariates: expected an object with a list for each name"),
        ({"target": TARGET, "past_covariates": {"a": [1]}}, "past_covariates.a: expected 4 values, got 1"),
        ({"target": TARGET, "past_covariates": {"a": 1}}, "past_covariates.a: expected a list of numbers, got 1"),
        (
            {"target": TARGET, "past_covariates": {"a": ["x", 1, "y", "z"]}},
            "past_covariates.a[1]: expected text, true, false or null, as the others are categories, got 1",
        ),
        (
            {"target": TARGET, "past_covariates": dict.fromkeys("abc", TARGET)},
            "past_covariates: expected at most 2, got 3",
        ),
        (
            {"target": TARGET, "future_covariates": {"a": [1, 2]}},
            'future_covariates: expected names of past_covariates, which hold their history, got "a"',
        ),
        (
            {"target": TARGET, "past_covariates": {"a": TARGET}, "future_covariates": {"a": [1, 2, 3]}},
            "future_covariates.a: expected 2 values, got 3",
        ),
        (
            {"target": TARGET, "past_covariates": {"a": TARGET}, "future_covariates": {"a": ["x", "y"]}},
            "future_covariates.a: expected numbers as in past_covariates, got categories",
        ),
        (
            {"target": TARGET, "past_covariates": {"a": ["x"] * 4}, "future_covariates": {"a": [1, 2]}},
            "future_covariates.a: expected categories as in past_covariates, got numbers",
        ),
    ],
)  # fmt: skip
def test_the_sentence_names_the_field_and_what_came(entry, sentence):
    assert refusal(entry).startswith(sentence)


def test_covariates_of_the_past_come_first_each_by_name():
    (entry,), _ = read({
        "target": [1, 2, 3, 4],
        "past_covariates": {"z": [1, 2, 3, 4], "b": [5, 6, 7, 8]},
        "future_covariates": {"b": [9, 10]},
    })  # fmt: skip
    series = entry.series(0)
    assert series.past_covariates.tolist() == [[1, 2, 3, 4]]
    assert series.future_covariates.tolist() == [[5, 6, 7, 8, 9, 10]]
    window = entry.series(0, 0, 2, ahead=2)
    assert window.past_covariates.tolist() == [[1, 2]]
    assert window.future_covariates.tolist() == [[5, 6, 7, 8]]


def test_categories_become_means_of_each_variate():
    (entry,), _ = read({
        "target": [[0, 0, 10, 10], [5, 5, 1, 1]],
        "past_covariates": {"kind": ["a", "a", "b", "b"], "open": [True, False, True, None]},
        "future_covariates": {"kind": ["b", "c"]},
    })  # fmt: skip
    first, second = entry.series(0), entry.series(1)
    np.testing.assert_allclose(first.future_covariates, [[5 / 3] * 2 + [25 / 3] * 2 + [25 / 3, 5]])
    np.testing.assert_allclose(second.future_covariates, [[13 / 3] * 2 + [5 / 3] * 2 + [5 / 3, 3]])
    assert first.past_covariates.shape == (1, 4)


@pytest.mark.parametrize("ahead", [None, [], [None, None]])
def test_a_covariate_known_in_advance_may_be_missing_ahead(ahead):
    for past in ([1, 2, 3, 4], ["x", "y", "x", "y"]):
        (entry,), _ = read({"target": [1, 2, 3, 4], "past_covariates": {"a": past}, "future_covariates": {"a": ahead}})
        row = entry.series(0).future_covariates[0]
        assert len(row) == 6
        assert np.isnan(row[4:]).all()


def test_arrays_stand_for_lists():
    rows = np.arange(8.0).reshape(2, 4)
    (lists, arrays), _ = read(
        {"target": rows.tolist(), "past_covariates": {"a": [1, 2, 3, 4], "k": ["x", "y", "x", None]}},
        {"target": rows, "past_covariates": {"a": np.arange(1, 5), "k": np.array(["x", "y", "x", None], object)}},
    )
    for at in range(2):
        one, other = lists.series(at), arrays.series(at)
        assert isinstance(one, Series)
        np.testing.assert_array_equal(one.target, other.target)
        np.testing.assert_array_equal(one.past_covariates, other.past_covariates)


@pytest.mark.parametrize("value", [None, {}, "x", 3])
def test_no_list_of_series_refuses_the_request(value):
    with pytest.raises(BadRequest, match="inputs: expected a list of series, got"):
        inputs.read({"inputs": value}, LIMITS, 1)


def test_too_many_series_refuse_the_request():
    for entries in ([{"target": TARGET}] * 6, [{"target": [[1, 2]] * 3}] * 2):
        with pytest.raises(TooLarge, match=r"inputs: expected at most 5 series, got 6 \(max_series\)"):
            inputs.read({"inputs": entries}, LIMITS, 1)


def test_unknown_fields_are_named_once():
    _, warnings = read({"target": TARGET, "foo": 1}, {"target": TARGET, "foo": 2})
    assert warnings == ("inputs[].foo: not understood and ignored; known are " + ", ".join(inputs.FIELDS),)
    assert parameters(batch_size=2).warnings[0].startswith("parameters.batch_size: not understood and ignored")


def test_defaults_are_those_of_chronos_2s_endpoint():
    asked = parameters().parameters
    assert (asked.horizon, asked.levels, asked.freq, asked.context) == (1, (0.1, 0.5, 0.9), None, None)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"prediction_length": 0}, "prediction_length: expected a whole number from 1 to 1024, got 0"),
        ({"quantile_levels": 0.5}, "quantile_levels: expected a list of at most 99 numbers, got 0.5"),
        ({"quantile_levels": [0.5] * 100}, "quantile_levels: expected a list of at most 99 numbers, got 100"),
        ({"quantile_levels": [0.5, 1]}, "quantile_levels[1]: expected a number from 1e-06 to 0.999999, got 1"),
        ({"quantile_levels": [0.5, "x"]}, 'quantile_levels[1]: expected a number from 1e-06 to 0.999999, got "x"'),
        ({"quantile_levels": [0.5, 0.5]}, "quantile_levels[1]: expected each level once, got 0.5 again"),
        ({"freq": "1 hour"}, "freq: expected a pandas alias such as h, 15min"),
        ({"freq": 5}, "freq: expected text such as h, D or PT15M, got 5"),
        ({"context_length": 0}, "context_length: expected a whole number from 1 to 50, got 0"),
        ({"cross_learning": 1}, "cross_learning: expected true or false, got 1"),
        (
            {"cross_learning": True, "batch_size": 257},
            "batch_size: expected a whole number from 1 to 256, got 257",
        ),
    ],
)
def test_a_wrong_parameter_refuses_the_request(asked, sentence):
    with pytest.raises(BadRequest) as refused:
        parameters(**asked)
    assert str(refused.value).startswith(sentence)


def test_what_is_not_done_is_said():
    asked = {"inputs": [{"target": TARGET, "start": "2024-01-05"}]}
    (told,) = forecast.read(asked, LIMITS).warnings
    assert told == "inputs[].start: the answer has no times, since parameters.freq is missing"
    (told,) = forecast.read(asked | {"parameters": {"freq": "ME"}}, LIMITS).warnings
    assert told == "inputs[].start: not a time of freq ME: times begin at the next one"


def test_what_is_forecast_together_is_asked_for_by_either_name():
    (told,) = parameters(batch_size=9).warnings
    assert told.startswith("parameters.batch_size: not understood and ignored")
    assert parameters(predict_batches_jointly=False).parameters.together is None
    for name in ("cross_learning", "predict_batches_jointly"):
        assert parameters(**{name: True}).parameters.together == 256
        asked = parameters(**{name: True, "batch_size": 9})
        assert (asked.parameters.together, asked.warnings) == (9, ())


def test_an_answer_of_too_many_numbers_is_refused():
    wide = settings.read("naive", {"max_series": "10000"})
    asked = {"prediction_length": 1024, "quantile_levels": [round(0.1 + at / 200, 3) for at in range(99)]}
    with pytest.raises(TooLarge, match="expected a request whose answer has at most 8000000 numbers, got one of 10240"):
        forecast.read({"inputs": [{"target": [1]}] * 100, "parameters": asked}, wide)
