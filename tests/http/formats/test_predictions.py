"""Predictions as a long table, whatever the request was."""

import json

import numpy as np
import pyarrow as pa
import pytest

from tsfm.http.formats import long, predictions

HOURS = np.datetime64("2024-01-01", "ms") + np.arange(3) * np.timedelta64(1, "h")
AHEAD = ["2024-01-01T03:00:00", "2024-01-01T04:00:00"]


def prediction(at=0, **more):
    return {
        "item_id": "ab"[at],
        "start": AHEAD[0],
        "timestamps": AHEAD,
        "mean": np.array([1.0, 2.0]) + at,
        "0.1": np.array([0.5, 1.5]) + at,
        **more,
    }


def rows(table) -> dict:
    return {name: column.to_pylist() for name, column in zip(table.column_names, table.columns, strict=True)}


@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int32(), pa.string()), pa.int16()])
@pytest.mark.parametrize("times", [pa.timestamp("ms"), pa.timestamp("ns"), pa.timestamp("s", "UTC")])
def test_names_and_times_have_the_types_of_the_request(long_table, kind, times):
    names = pa.array([7] * 3 + [8] * 3 if kind == pa.int16() else ["a"] * 3 + ["b"] * 3)
    ids = names.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else names.cast(kind)
    _, source = long.fields(long_table(pa.array(np.tile(HOURS, 2)).cast(times), item_id=ids), {})
    table = predictions.table({"predictions": [prediction(), prediction(1)]}, source)
    assert table.schema.field("item_id").type == kind
    assert table.schema.field("timestamp").type == times
    assert table["item_id"].to_pylist() == [names[0].as_py()] * 2 + [names[3].as_py()] * 2
    assert table["timestamp"].cast(pa.string()).to_pylist()[0].startswith("2024-01-01 03:00:00")
    assert rows(table.select(["mean", "0.1"])) == {"mean": [1, 2, 2, 3], "0.1": [0.5, 1.5, 1.5, 2.5]}


def test_a_failed_series_has_one_row_with_its_error_in_its_place():
    table = predictions.table({"predictions": [{"item_id": "x", "error": "too short"}, prediction()]})
    assert rows(table)["error"] == ["too short", None, None]
    assert rows(table)["mean"] == [None, 1, 2]
    assert table["timestamp"].is_null().to_pylist() == [True, False, False]


def test_where_all_failed_there_are_errors_only(long_table):
    _, source = long.fields(long_table(HOURS), {})
    table = predictions.table({"predictions": [{"item_id": "a", "error": "no"}]}, source)
    assert rows(table) == {"item_id": ["a"], "timestamp": [None], "error": ["no"]}


def test_variates_have_rows_of_their_own_with_the_names_of_their_columns(long_table):
    _, source = long.fields(long_table(HOURS, wind=HOURS.astype(float)), {"target": ["target", "wind"]})
    both = {name: [prediction()[name], prediction(1)[name]] for name in ("mean", "0.1")}
    table = predictions.table({"predictions": [prediction(**both)]}, source)
    assert rows(table)["target_name"] == ["target", "target", "wind", "wind"]
    assert rows(table)["mean"] == [1, 2, 2, 3]


def test_windows_have_their_cutoffs_and_scores_are_in_the_metadata():
    windows = [{name: one[name] for name in ("timestamps", "mean", "0.1")} for one in (prediction(), prediction(1))]
    scored = {"windows": [one | {"cutoff": at} for at, one in enumerate(windows)], "metrics": {"mase": 0.5}}
    table = predictions.table({"predictions": [{"item_id": "a"} | scored], "metrics": {"mase": 0.5}})
    assert rows(table)["cutoff"] == [0, 0, 1, 1]
    said = json.loads(table.schema.metadata[predictions.METADATA])
    assert said == {"metrics": {"mase": 0.5}, "series": [{"item_id": "a", "metrics": {"mase": 0.5}}]}


def test_warnings_are_in_the_metadata():
    table = predictions.table({"predictions": [prediction(warnings=["few points"])], "warnings": ["x: unknown"]})
    said = json.loads(table.schema.metadata[predictions.METADATA])
    assert said == {"warnings": ["x: unknown", 'item "a": few points']}
    assert predictions.table({"predictions": [prediction()]}).schema.metadata is None


def test_whole_numbers_beyond_those_of_floats_stay_whole():
    table = predictions.table({"predictions": [{"mean": [2**60 + 1, 2**60 + 2]}]})
    assert rows(table) == {"item_id": [None] * 2, "timestamp": [None] * 2, "mean": [2**60 + 1, 2**60 + 2]}


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (AHEAD, pa.timestamp("us")),
        ([f"{text}Z" for text in AHEAD], pa.timestamp("us", "UTC")),
        ([f"{AHEAD[0]}+02:00", f"{AHEAD[1]}+02:00"], pa.timestamp("us", "UTC")),
        ([AHEAD[0], f"{AHEAD[1]}Z"], pa.string()),
    ],
)
def test_times_of_a_json_request_are_times(texts, kind):
    assert predictions.table({"predictions": [prediction(timestamps=texts)]}).schema.field("timestamp").type == kind
