"""Many series in one request, against running services: names, places, times, limits, and nobody else waits."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from checkpoints import chronos
from conftest import Live

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(11)
WAVE = (20 + 6 * np.sin(np.arange(120) / 4) + RNG.normal(0, 0.5, 120)).round(3).tolist()


@pytest.fixture(scope="module")
def naive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    live = Live("naive", "--threads", "2", log=tmp_path_factory.mktemp("naive") / "log").until_ready()
    yield live
    assert live.stop() == 0
    assert "Traceback" not in live.log.read_text()


@pytest.fixture(scope="module")
def chronos2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("chronos")
    chronos.make(folder / "weights", "tiny2")
    options = ["--model-folder", str(folder / "weights"), "--dtype", "float32", "--threads", "1"]
    live = Live("chronos", *options, log=folder / "log").until_ready()
    yield live
    assert live.stop() == 0


def ask(live: Live, *inputs: object, **parameters: object) -> dict:
    answer = live.post("/v1/forecast", {"inputs": list(inputs), "parameters": parameters})
    assert answer.status == 200, answer.body
    return answer.json


def test_the_example_of_chronos_2s_endpoint_is_answered_in_its_form(naive):
    """Two series with ids and times, as its documentation sends them."""
    answer = ask(
        naive,
        {"target": [1.0, 2.0, 3.0, 2.0, 0.5, 2.0, 3.0, 2.0, 1.0], "item_id": "A", "start": "2024-01-01T01:00:00"},
        {"target": [5.4, 3.0, 3.0, 2.0, 1.5, 2.0, -1.0], "item_id": "B", "start": "2024-02-02T03:00:00"},
        prediction_length=5, freq="1h", quantile_levels=[0.1, 0.5, 0.9], batch_size=2,
    )  # fmt: skip
    first, second = answer["predictions"]
    assert (first["item_id"], first["start"]) == ("A", "2024-01-01T10:00:00")
    assert (second["item_id"], second["start"]) == ("B", "2024-02-02T10:00:00")
    assert first["timestamps"][-1] == "2024-01-01T14:00:00"
    assert all(len(first[name]) == 5 for name in ("mean", "0.1", "0.5", "0.9"))
    assert first["mean"] == first["0.5"]
    assert all(low <= mean <= high for low, mean, high in zip(first["0.1"], first["mean"], first["0.9"], strict=True))
    (warning,) = answer["warnings"]
    assert warning.startswith("parameters.batch_size: not understood and ignored")


def test_a_bad_series_is_refused_in_its_place(naive):
    inputs = [{"item_id": at, "target": WAVE} for at in range(20)]
    inputs[3] = {"item_id": 3, "target": ["x"]}
    inputs[7] = {"item_id": 7, "target": WAVE, "past_covariates": {"price": WAVE, "promo": WAVE}}
    inputs[9] = 5
    predictions = ask(naive, *inputs, prediction_length=4)["predictions"]
    assert predictions[3] == {"item_id": 3, "error": 'target[0]: expected a number or null, got "x"'}
    assert predictions[7] == {
        "item_id": 7, "error": "past_covariates: naive takes no covariates of the past, got price, promo",
    }  # fmt: skip
    assert predictions[9] == {"error": "expected an object with a target, got 5"}
    good = [one for one in predictions if "error" not in one]
    assert [one["item_id"] for one in good] == [at for at in range(20) if at not in (3, 7, 9)]
    assert all(one["mean"] == good[0]["mean"] for one in good)


def test_a_series_on_which_the_model_fails_fails_alone(serve, tmp_path):
    (tmp_path / "naive.json").write_text('{"fail_above": 8}')  # deviations from the mean
    live = serve("naive", "--model-folder", str(tmp_path)).until_ready()
    inputs = [{"item_id": at, "target": [*WAVE[:-1], 1000.0 if at == 11 else 5.0]} for at in range(40)]
    predictions = ask(live, *inputs, prediction_length=4)["predictions"]
    assert [one["item_id"] for one in predictions if "error" in one] == [11]
    assert predictions[11]["error"].startswith("the model failed: RuntimeError: the naive model was told to fail")


@pytest.mark.parametrize("how", ["spaces", "plain"])
def test_a_large_request_gets_the_numbers_of_small_ones(naive, how):
    inputs = [{"item_id": at, "target": [value + at for value in WAVE[: 30 + at % 7]]} for at in range(300)]
    body = json.dumps({"inputs": inputs, "parameters": {"prediction_length": 6}}).encode()
    answer = naive.post("/v1/forecast", body + b" " * (300_000 if how == "spaces" else 0))
    assert answer.status == 200
    small = [ask(naive, one, prediction_length=6)["predictions"][0] for one in inputs[::50]]
    assert answer.json["predictions"][::50] == small
    assert [one["item_id"] for one in answer.json["predictions"]] == list(range(300))


def test_variates_are_forecast_each_and_it_is_said(naive):
    answer = ask(naive, {"target": [WAVE, WAVE[::-1]]}, prediction_length=3, quantile_levels=[0.25])
    alone = [ask(naive, {"target": row}, prediction_length=3, quantile_levels=[0.25]) for row in (WAVE, WAVE[::-1])]
    (both,) = answer["predictions"]
    for name in ("mean", "0.25"):
        assert both[name] == [one["predictions"][0][name] for one in alone]
    assert answer["multivariate_how"] == "each"
    assert "multivariate_how" not in alone[0]


def test_context_length_cuts_the_oldest_points(naive):
    cut = ask(naive, {"target": WAVE}, prediction_length=3, context_length=20)
    assert cut == ask(naive, {"target": WAVE[-20:]}, prediction_length=3)
    assert cut != ask(naive, {"target": WAVE}, prediction_length=3)


def test_counters_beyond_two_to_the_53_keep_their_digits(naive):
    (answer,) = ask(naive, {"target": [10**18 + at for at in range(50)]}, prediction_length=2)["predictions"]
    assert answer["mean"] == [10**18 + 49] * 2


@pytest.mark.parametrize("many", [1, 30])
def test_times_beyond_the_last_year_refuse_the_series(naive, many):
    late = {"item_id": "late", "target": WAVE, "start": "9999-12-01"}
    for answer in ask(naive, *[late] * many, prediction_length=30, freq="D")["predictions"]:
        assert answer == {"item_id": "late", "error": "start: expected times up to the year 9999, got later ones"}


@pytest.mark.parametrize("path", ["/v1/forecast", "/v1/cross_validation"])
def test_get_is_refused_at_once(naive, path):
    answer = naive.get(path)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


def test_a_path_of_another_task_is_refused_in_words(naive):
    answer = naive.post("/v1/imputation", {"inputs": [{"target": WAVE}]})
    assert answer.status == 404
    assert answer.json["error"] == (
        "POST /v1/imputation: naive does not serve it; it serves /v1/forecast, /v1/cross_validation"
    )


def test_what_holds_for_all_series_refuses_the_request(naive):
    for fields, sentence in (
        ({"inputs": []}, "inputs: expected at least one series, got none"),
        ({}, "inputs: expected a list of series, got nothing"),
        ({"inputs": [{"target": WAVE}], "parameters": {"freq": "x"}}, "freq: expected a pandas alias"),
    ):
        answer = naive.post("/v1/forecast", fields)
        assert answer.status == 400
        assert answer.json["error"].startswith(sentence)
    too_many = naive.post("/v1/forecast", {"inputs": [{"target": [1]}] * 1001})
    assert too_many.status == 413
    assert too_many.json["error"] == "inputs: expected at most 1000 series, got 1001 (max_series)"


def test_named_covariates_are_those_of_tdgpts_lists(chronos2):
    past, ahead = RNG.normal(size=120).tolist(), RNG.normal(size=126).tolist()
    named = {"past_covariates": {"b": past, "a": ahead[:120]}, "future_covariates": {"a": ahead[120:]}}
    answer = ask(chronos2, {"target": WAVE} | named, prediction_length=6, quantile_levels=[0.1, 0.9])
    fields = {"input": WAVE, "next_len": 6, "conf_interval": 0.8, "past_dynamic_real": [past], "dynamic_real": [ahead]}
    listed = chronos2.post("/ds_predict", fields).json
    (named,) = answer["predictions"]
    assert (named["mean"], named["0.1"], named["0.9"]) == (listed["output"], listed["lower"], listed["upper"])
    assert answer["covariates_how"] == "native"


def test_categories_move_the_forecast(chronos2):
    """As sent by the example of Chronos-2's endpoint: text, known in advance."""
    kinds = ["A" if value > 20 else "B" for value in WAVE]
    series = {"target": WAVE, "past_covariates": {"kind": kinds, "open": [True, False] * 60}}
    high = ask(chronos2, series | {"future_covariates": {"kind": ["A"] * 4}}, prediction_length=4)
    low = ask(chronos2, series | {"future_covariates": {"kind": ["B"] * 4}}, prediction_length=4)
    assert high["predictions"][0]["mean"] != low["predictions"][0]["mean"]


def test_a_single_series_does_not_wait_for_a_large_request(serve, tmp_path):
    """Each batch of the model takes a third of a second here, so order alone decides."""
    (tmp_path / "naive.json").write_text('{"delay_s": 0.3}')
    live = serve("naive", "--model-folder", str(tmp_path), "--threads", "1").until_ready()
    order = []

    def large() -> None:
        inputs = [{"item_id": at, "target": [float((i * at) % 17) for i in range(512)]} for at in range(320)]
        assert len(ask(live, *inputs, prediction_length=3)["predictions"]) == 320
        order.append("large")

    thread = threading.Thread(target=large)
    thread.start()
    while not [line for line in live.get("/metrics").body.decode().splitlines() if waits(line)]:
        threading.Event().wait(0.02)
    for _ in range(3):
        ask(live, {"target": WAVE}, prediction_length=3)
        order.append("single")
    thread.join(60)
    assert order == ["single"] * 3 + ["large"]


def waits(line: str) -> bool:
    name, _, value = line.partition(" ")
    return name == "tsfm_queue_length" and float(value) > 100


def test_the_deadline_holds_for_the_whole_request(serve, tmp_path):
    (tmp_path / "naive.json").write_text('{"delay_s": 0.4}')
    (tmp_path / "tsfm.ini").write_text(f"[naive]\ndeadline_s = 1\nmodel_folder = {tmp_path}\n")
    live = serve("naive", "--threads", "1", env={"TSFM_INI": str(tmp_path / "tsfm.ini")}).until_ready()
    body = {"inputs": [{"target": [float((i * at) % 17) for i in range(512)]} for at in range(320)]}
    answer = live.post("/v1/forecast", body)
    assert (answer.status, answer.json["error"]) == (504, "no answer within 1 s")
    assert live.post("/v1/forecast", {"inputs": [{"target": WAVE}]}).status == 200
