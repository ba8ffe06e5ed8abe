"""Other people's clients against a running service: what they send, and what they make of the answer."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import requests
import tritonclient.http as triton
from backports import zstd
from conftest import Live
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.slow

WALK = [float(at % 7) for at in range(40)]
STREAM, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    served = Live("naive", log=tmp_path_factory.mktemp("clients") / "naive.log").until_ready()
    yield served
    assert served.stop() == 0
    assert "Traceback" not in served.log.read_text()


@pytest.fixture(scope="module")
def session():
    with requests.Session() as made:
        made.trust_env = False
        yield made


@pytest.fixture(scope="module")
def expected(live):
    """The forecast of WALK by the service's own operation."""
    asked = {"prediction_length": 3, "quantile_levels": [0.1, 0.9]}
    answer = live.post("/v1/forecast", {"inputs": [{"target": WALK}], "parameters": asked})
    return answer.json["predictions"][0]


def frame(ids=("a", "b"), freq="h", **columns) -> pd.DataFrame:
    stamps = pd.date_range("2024-01-01", periods=len(WALK), freq=freq)
    return pd.concat(
        [pd.DataFrame({"item_id": name, "timestamp": stamps, "target": WALK} | columns) for name in ids],
        ignore_index=True,
    )


# SageMaker: the JSON of the notebooks for Chronos-2's endpoint.


def test_a_sagemaker_client_gets_its_forecasts(live):
    assert live.get("/ping").status == 200
    payload = {
        "inputs": [
            {"target": WALK, "item_id": "product_A", "start": "2024-01-01T01:00:00"},
            {"target": WALK[:30], "item_id": "product_B", "start": "2024-02-02T03:00:00"},
        ],
        "parameters": {"prediction_length": 5, "freq": "1h", "quantile_levels": [0.1, 0.5, 0.9], "batch_size": 2},
    }
    answer = live.post("/invocations", payload, headers={"Accept": "application/json"})
    assert answer.status == 200
    frames = []
    for forecast in answer.json["predictions"]:  # as the notebook makes a data frame of the answer
        times = forecast.pop("timestamps")
        made = pd.DataFrame(forecast).drop(columns=["start"])
        made["timestamp"] = pd.date_range(forecast["start"], freq="h", periods=len(made))
        assert [str(time.isoformat()) for time in made["timestamp"]] == times
        frames.append(made)
    table = pd.concat(frames)
    assert table.columns.tolist() == ["item_id", "mean", "0.1", "0.5", "0.9", "timestamp"]
    assert table.groupby("item_id").size().to_dict() == {"product_A": 5, "product_B": 5}
    assert answer.json["warnings"][0].startswith("parameters.batch_size: not understood and ignored")


def test_the_same_is_answered_as_under_v1(live):
    payload = {"inputs": [{"target": WALK}], "parameters": {"prediction_length": 2}}
    assert live.post("/invocations", payload).body == live.post("/v1/forecast", payload).body


# KServe's time-series protocol, with its own types.


@pytest.fixture(scope="module")
def kserve() -> ModuleType:
    """The module of kserve that has the types; kserve itself would import all that serves them."""
    package = importlib.util.find_spec("kserve")
    assert package
    assert package.origin
    file = Path(package.origin).parent / "protocol/rest/timeseries/types.py"
    spec = importlib.util.spec_from_file_location("kserve_types", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["kserve_types"] = module
    spec.loader.exec_module(module)
    return module


def ask(kserve, *inputs, horizon=3, quantiles=(0.1, 0.9)):
    options = kserve.ForecastOptions(horizon=horizon, quantiles=list(quantiles))
    return kserve.ForecastRequest(model="any", inputs=list(inputs), options=options).model_dump(mode="json")


def one(kserve, name="a", series=WALK, frequency="H", start="2024-01-31T00:00:00Z", kind="univariate_time_series"):
    return kserve.TimeSeriesInput(type=kind, name=name, series=series, frequency=frequency, start_timestamp=start)


def test_kserves_types_hold_request_and_answer(live, kserve, expected):
    asked = ask(kserve, one(kserve), one(kserve, "b", frequency="month"), one(kserve, "c", start=None))
    answer = kserve.ForecastResponse.model_validate(live.post("/v1/timeseries/forecast", asked).json)
    assert answer.status == kserve.Status.COMPLETED
    made = [output.content[0] for output in answer.outputs]
    assert [content.name for content in made] == ["a", "b", "c"]
    assert [content.frequency.value for content in made] == ["H", "month", "H"]
    # Each series has its own frequency: 40 hours, and 40 months, after the last of January.
    assert [content.start_timestamp for content in made] == ["2024-02-01T16:00:00Z", "2027-05-31T00:00:00Z", ""]
    for content in made:
        assert content.mean_forecast == expected["mean"]
        assert content.quantiles == {level: expected[level] for level in ("0.1", "0.9")}


def test_a_bad_series_is_an_output_with_its_error(live, kserve, expected):
    bad, both = one(kserve, "bad", series=[]), one(kserve, "two", [WALK, WALK], kind="multivariate_time_series")
    answer = kserve.ForecastResponse.model_validate(live.post("/v1/timeseries/forecast", ask(kserve, bad, both)).json)
    assert answer.status == kserve.Status.PARTIAL
    refused, made = answer.outputs
    assert (refused.status, refused.content) == (kserve.Status.ERROR, [])
    assert refused.error.message.startswith("series: expected")
    assert made.content[0].mean_forecast == [expected["mean"]] * 2


def test_a_bad_request_has_kserves_own_error(live, kserve):
    answer = live.post("/v1/timeseries/forecast", ask(kserve, one(kserve), horizon=0))
    assert answer.status == 400
    error = kserve.ErrorResponse.model_validate(answer.json).error
    assert (error.code, error.param) == ("400", "horizon")
    assert error.message == "horizon: expected a whole number from 1 to 1024, got 0"
    assert live.get("/v1/timeseries/forecast").status == 405
    assert live.get("/v1/timeseries/models").json == ["naive"]


# KServe's V2 protocol, by Triton's client.


@pytest.fixture(scope="module")
def client(live):
    made = triton.InferenceServerClient(f"127.0.0.1:{live.port}")
    yield made
    made.close()


def tensor(name, values, datatype="FP64", binary=True):
    made = triton.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def test_triton_asks_what_is_served(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("naive")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    metadata = client.get_model_metadata("naive")
    assert (metadata["name"], metadata["inputs"][0]["name"]) == ("naive", "target")


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("packed", [None, "gzip"])
def test_triton_sends_tensors_in_binary_and_as_json(client, expected, binary_in, binary_out, packed):
    values = np.array([WALK, WALK], np.float32)
    names = np.array(["a", "泵"], np.object_)
    inputs = [tensor("target", values, "FP32", binary_in), tensor("item_id", names, "BYTES", binary_in)]
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("mean", "quantiles")]
    asked = {"prediction_length": 3, "quantile_levels": "0.1,0.9"}
    made = client.infer(
        "naive", inputs, request_id="7", outputs=outputs, parameters=asked, request_compression_algorithm=packed
    )
    assert made.get_response()["id"] == "7"
    assert made.as_numpy("mean").tolist() == [expected["mean"]] * 2
    assert made.as_numpy("quantiles").tolist() == [[expected["0.1"], expected["0.9"]]] * 2


def test_triton_sends_one_series_several_variates_and_large_bodies(client, expected):
    levels = tensor("quantile_levels", np.array([0.9]))
    single = client.infer("naive", [tensor("target", np.array(WALK)), levels], parameters={"prediction_length": 3})
    assert single.as_numpy("mean").tolist() == expected["mean"]
    assert single.as_numpy("quantiles").tolist() == [expected["0.9"]]
    variates = client.infer("naive", [tensor("target", np.array([[WALK, WALK]]))], parameters={"prediction_length": 3})
    assert variates.as_numpy("mean").tolist() == [[expected["mean"]] * 2]
    many = np.tile(np.array(WALK), (100, 50))  # more than the service reads in its own process
    assert client.infer("naive", [tensor("target", many)]).as_numpy("mean").shape == (100, 1)


def test_triton_is_told_what_is_wrong(client):
    target = tensor("target", np.array([WALK, [np.nan] * 40]))
    wrong = {
        "series 1 of 2: target: expected at least one number": ([target], {}),
        "parameters.prediction_length: expected a whole number from 1 to 1024, got 0": (
            [target],
            {"prediction_length": 0},
        ),
        "inputs: expected a tensor target of numbers": ([tensor("item_id", np.array(["a"], object), "BYTES")], {}),
        "inputs: expected tensors with the names target, item_id": ([tensor("other", np.array(WALK))], {}),
        'inputs: expected one value of "start" for each series, got the shape [1]': (
            [target, tensor("start", np.array(["2024-01-01"], object), "BYTES")],
            {},
        ),
    }
    for sentence, (inputs, parameters) in wrong.items():
        with pytest.raises(InferenceServerException) as refused:
            client.infer("naive", inputs, parameters=parameters)
        assert refused.value.status() == "400"
        assert refused.value.message().startswith(sentence)
    with pytest.raises(InferenceServerException, match="Content-Encoding: expected gzip, zstd or none, got deflate"):
        client.infer("naive", [target], request_compression_algorithm="deflate")


@pytest.mark.parametrize(
    ("header", "body", "sentence"),
    [
        ("-1", b"{}", "Inference-Header-Content-Length: expected a number of bytes up to 2, got -1"),
        ("3", b"{}", "Inference-Header-Content-Length: expected a number of bytes up to 2, got 3"),
        ("2", b"{}more", "body: expected tensors with binary_data_size for all its bytes, got 4 more"),
        ("1", b"{}", "body: expected JSON, but at position 1"),
    ],
)
def test_a_binary_body_whose_header_is_wrong_is_refused_in_words(live, header, body, sentence):
    answer = live.post("/v2/models/naive/infer", body, headers={"Inference-Header-Content-Length": header})
    assert answer.status == 400
    assert answer.json["error"].startswith(sentence)
    assert set(answer.json) == {"error"}


# Data frames over requests.


def as_stream(table: pd.DataFrame) -> bytes:
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, arrow.schema) as writer:
        writer.write_table(arrow)
    return sink.getvalue()


def from_stream(body: bytes) -> pd.DataFrame:
    return pa.ipc.open_stream(body).read_all().to_pandas()


def test_a_data_frame_goes_there_and_back_as_parquet(live, session, expected):
    answer = session.post(
        f"{live.url}/v1/forecast",
        data=frame().to_parquet(),
        params={"prediction_length": 3, "quantile_levels": [0.1, 0.9]},
        headers={"Content-Type": "application/x-parquet"},
    )
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == PARQUET
    table = pd.read_parquet(io.BytesIO(answer.content))
    assert table.columns.tolist() == ["item_id", "timestamp", "mean", "0.1", "0.9"]
    assert table["item_id"].tolist() == ["a"] * 3 + ["b"] * 3
    assert table["timestamp"][:3].tolist() == pd.date_range("2024-01-02T16:00", periods=3, freq="h").tolist()
    for name in ("mean", "0.1", "0.9"):
        assert table[name].tolist() == expected[name] * 2
    assert pd.concat([frame(), table]).groupby("item_id")["timestamp"].is_monotonic_increasing.all()


@pytest.mark.parametrize("freq", ["15min", "D", "W-SUN", "ME", "QS", "B"])
def test_an_arrow_stream_keeps_the_calendar_of_the_data_frame(live, session, freq):
    url = f"{live.url}/v1/forecast?prediction_length=4"
    table = frame(("a",), freq).assign(item_id=7)
    answer = session.post(
        url, data=zstd.compress(as_stream(table)), headers={"Content-Type": STREAM, "Content-Encoding": "zstd"}
    )
    assert answer.status_code == 200
    made = from_stream(answer.content)
    assert made["timestamp"].tolist() == pd.date_range("2024-01-01", periods=len(WALK) + 4, freq=freq).tolist()[-4:]
    assert made["item_id"].dtype == table["item_id"].dtype
    assert made["timestamp"].dtype == table["timestamp"].dtype


def test_accept_chooses_the_form_of_the_answer(live, session):
    body, url = as_stream(frame(("a",))), f"{live.url}/v1/forecast"
    json_answer = session.post(url, data=body, headers={"Content-Type": STREAM, "Accept": "application/json"}).json()
    assert json_answer["predictions"][0]["timestamps"] == ["2024-01-02T16:00:00"]
    parquet = session.post(url, data=body, headers={"Content-Type": STREAM, "Accept": PARQUET})
    assert len(pd.read_parquet(io.BytesIO(parquet.content))) == 1
    asked = {"inputs": [{"target": WALK, "item_id": "x", "start": "2024-01-01"}], "parameters": {"freq": "D"}}
    made = from_stream(session.post(url, json=asked, headers={"Accept": STREAM}).content)
    assert made["timestamp"].tolist() == [pd.Timestamp("2024-02-10")]
    score = session.post(f"{live.url}/v1/cross_validation?n_windows=2", data=body, headers={"Content-Type": STREAM})
    table = pa.ipc.open_stream(score.content).read_all()
    assert table["cutoff"].to_pylist() == [38, 39]
    assert "mase" in json.loads(table.schema.metadata[b"taos-tsfm"])["metrics"]


def test_a_bad_series_of_a_table_fails_alone_and_a_bad_table_in_words(live, session):
    url, head = f"{live.url}/v1/forecast", {"Content-Type": STREAM}
    table = frame()
    table.loc[table.item_id == "b", "target"] = np.nan
    made = from_stream(session.post(url, data=as_stream(table), headers=head).content)
    assert made["error"].tolist() == [None, "target: expected at least one number, got 40 missing values"]
    answer = session.post(url, data=as_stream(table.drop(index=5)), headers=head)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(
        'timestamp: expected even steps, the same for all items, but item "a" goes'
    )
    assert session.get(url, headers=head).status_code == 405
