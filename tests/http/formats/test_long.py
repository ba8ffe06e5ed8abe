"""A long table as the fields of a request, and what is wrong with one in words."""

import numpy as np
import orjson
import pyarrow as pa
import pytest

from tsfm.errors import BadRequest
from tsfm.http.formats import long

HOURS = np.datetime64("2024-01-01", "s") + np.arange(4) * np.timedelta64(1, "h")


def entries(table, **query):
    fields, _ = long.fields(table, {name: [text] for name, text in query.items()})
    return fields["inputs"]


def plain(value):
    """The fields with lists in place of arrays, and null in place of NaN, as JSON has them."""
    return orjson.loads(orjson.dumps(value, default=lambda array: array.tolist()))


def test_rows_that_are_together_become_one_series_each(long_table):
    table = long_table(np.concatenate([HOURS, HOURS[2:]]), [1.0, None, 3, 4, 5, 6], ["a"] * 4 + ["b"] * 2)
    assert plain(entries(table)) == [
        {"item_id": "a", "start": "2024-01-01T00:00:00.000000", "target": [1, None, 3, 4]},
        {"item_id": "b", "start": "2024-01-01T02:00:00.000000", "target": [5, 6]},
    ]
    fields, source = long.fields(table, {})
    assert fields["parameters"] == {"freq": "1h"}
    assert source.ids.to_pylist() == ["a", "b"]


def test_rows_sorted_by_time_are_sorted_into_series_in_the_order_of_their_first_rows(long_table):
    table = long_table(np.repeat(HOURS, 2), np.arange(8.0), [7, 3] * 4)
    assert plain(entries(table)) == [
        {"item_id": 7, "start": "2024-01-01T00:00:00.000000", "target": [0, 2, 4, 6]},
        {"item_id": 3, "start": "2024-01-01T00:00:00.000000", "target": [1, 3, 5, 7]},
    ]


@pytest.mark.parametrize(
    "ids",
    [
        pa.array(["a", "a", "b", "b"]),
        pa.array(["a", "a", "b", "b"], pa.large_string()),
        pa.array(["a", "a", "b", "b"]).dictionary_encode(),
        pa.DictionaryArray.from_arrays([2, 1, 0, 0], ["b", "a", "a"]),  # one value twice
        pa.chunked_array([pa.array(part).dictionary_encode() for part in (["a"], ["a", "b"], ["b"])]),
    ],
)
def test_names_of_every_type_of_text_are_read(long_table, ids):
    table = long_table(np.concatenate([HOURS[:2]] * 2), item_id=ids)
    assert [(one["item_id"], len(one["target"])) for one in entries(table)] == [("a", 2), ("b", 2)]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.decimal128(9, 2)])
def test_numbers_of_every_type_are_read_and_nulls_are_missing(long_table, kind):
    values = pa.array([1.0, 2.0, 3.0, 4.0], pa.float32()).cast(kind)
    (entry,) = entries(long_table(HOURS, values))
    assert plain(entry["target"]) == [1, 2, 3, 4]
    (entry,) = entries(long_table(HOURS, pa.concat_arrays([values[:3], pa.nulls(1, kind)])))
    assert plain(entry["target"]) == [1, 2, 3, None]


def test_a_target_and_covariates_are_parts_of_the_table_and_no_copies_through_lists(long_table):
    table = long_table(HOURS, np.arange(4.0), load=np.arange(4))
    (entry,) = entries(table)
    for name, array in (("target", entry["target"]), ("load", entry["past_covariates"]["load"])):
        assert array.ctypes.data == table[name].chunk(0).buffers()[1].address


def test_other_columns_are_covariates_and_texts_and_booleans_are_categories(long_table):
    table = long_table(
        HOURS,
        load=[1, 2, None, 4],
        open=[True, None, False, True],
        kind=pa.array(["x", "y", None, "x"]).dictionary_encode(),
    )
    (entry,) = entries(table)
    assert plain(entry["past_covariates"]) == {
        "load": [1, 2, None, 4],
        "open": [True, None, False, True],
        "kind": ["x", "y", None, "x"],
    }
    assert "future_covariates" not in entry


def test_the_last_rows_hold_what_is_known_in_advance(long_table):
    stamps = np.concatenate([HOURS, HOURS[:3]])
    table = long_table(stamps, [1.0, 2, None, None, 5, None, None], ["a"] * 4 + ["b"] * 3, plan=range(7), load=range(7))
    fields = plain(entries(table, future_covariates="plan", prediction_length="2"))
    assert [entry["target"] for entry in fields] == [[1, 2], [5]]
    assert [entry["past_covariates"] for entry in fields] == [
        {"plan": [0, 1], "load": [0, 1]},
        {"plan": [4], "load": [4]},
    ]
    assert [entry["future_covariates"] for entry in fields] == [{"plan": [2, 3]}, {"plan": [5, 6]}]


def test_several_targets_are_the_variates_of_each_series(long_table):
    fields, source = long.fields(long_table(HOURS, wind=[4.0, 3, 2, 1]), {"target": ["target,wind"]})
    assert plain(fields["inputs"][0]["target"]) == [[0, 1, 2, 3], [4, 3, 2, 1]]
    assert source.targets == ("target", "wind")


def test_parameters_are_those_of_json(long_table):
    query = {
        "prediction_length": ["24"],
        "quantile_levels": ["0.1,0.5", "0.9"],
        "freq": ["h"],
        "cross_learning": ["true"],
        "own": ["x"],
    }
    fields, _ = long.fields(long_table(HOURS), query)
    assert fields["parameters"] == {
        "prediction_length": 24,
        "quantile_levels": [0.1, 0.5, 0.9],
        "freq": "h",
        "cross_learning": True,
        "own": "x",
    }


def test_the_index_of_a_data_frame_is_no_covariate(long_table):
    (entry,) = entries(long_table(HOURS, __index_level_0__=[5, 6, 7, 8]))
    assert "past_covariates" not in entry


WRONG = {
    "item_id: expected a column of this name, got time, value": lambda make: pa.table({"time": [1], "value": [2]}),
    "item_id: expected a column of texts or whole numbers, got double": lambda make: make(HOURS, item_id=[1.5] * 4),
    "item_id: expected a name in every row, got 2 nulls": lambda make: make(HOURS, item_id=["a", None, None, "a"]),
    "target: expected a column of numbers, got string": lambda make: make(HOURS, ["1", "2", "3", "4"]),
    "target: expected a column of numbers, got bool": lambda make: make(HOURS, [True] * 4),
    "day: expected a column of numbers, texts or booleans, as a covariate is, got timestamp[s]": lambda make: make(
        HOURS, day=HOURS
    ),
    "body: expected a table with rows, got none": lambda make: make(HOURS[:0], item_id=pa.array([], pa.string())),
}


@pytest.mark.parametrize("sentence", WRONG)
def test_a_table_that_is_none_is_refused_in_words(long_table, sentence):
    with pytest.raises(BadRequest) as refused:
        long.fields(WRONG[sentence](long_table), {})
    assert str(refused.value) == sentence


AHEAD = {
    "plan: expected a column of this name, got item_id, timestamp, target": ({}, "2"),
    "prediction_length: expected a whole number from 1 to 1048576, got null": ({"plan": range(4)}, None),
    "future_covariates: expected prediction_length = 4 rows behind the history of each item, got 4 rows in all for "
    'item "a"': ({"plan": range(4)}, "4"),
    "target: expected no values in the last prediction_length = 2 rows of each item, which hold what is known in "
    'advance, got some for item "a"': ({"plan": range(4)}, "2"),
}


@pytest.mark.parametrize("sentence", AHEAD)
def test_what_is_known_in_advance_is_refused_in_words_where_it_does_not_fit(long_table, sentence):
    covariates, length = AHEAD[sentence]
    query = {"future_covariates": ["plan"]} | ({"prediction_length": [length]} if length else {})
    with pytest.raises(BadRequest) as refused:
        long.fields(long_table(HOURS, **covariates), query)
    assert str(refused.value) == sentence
