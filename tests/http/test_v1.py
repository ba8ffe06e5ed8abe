"""Many series in one request, against running services: names, places, times, limits, and nobody else waits."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from checkpoints import chronos
from checkpoints import moment as moment_maker
from conftest import Live

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(11)
WAVE = (20 + 6 * np.sin(np.arange(120) / 4) + RNG.normal(0, 0.5, 120)).round(3).tolist()


@pytest.fixture(scope="module")
def naive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with Live("naive", "--threads", "2", log=tmp_path_factory.mktemp("naive") / "log") as live:
        yield live


@pytest.fixture(scope="module")
def chronos2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("chronos")
    chronos.make(folder / "weights", "tiny2")
    options = ["--model-folder", str(folder / "weights"), "--dtype", "float32", "--threads", "1"]
    with Live("chronos", *options, log=folder / "log", forked=True) as live:
        yield live


@pytest.fixture(scope="module")
def moment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("moment")
    moment_maker.make(folder / "weights")
    options = ["--model-folder", str(folder / "weights"), "--threads", "1"]
    with Live("moment", *options, log=folder / "log", forked=True) as live:
        yield live


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
    inputs[7] = {"item_id": 7, "target": WAVE, "past_covariates": {"price": WAVE[1:], "promo": WAVE}}
    inputs[9] = 5
    predictions = ask(naive, *inputs, prediction_length=4)["predictions"]
    assert predictions[3] == {"item_id": 3, "error": 'target[0]: expected a number or null, got "x"'}
    assert predictions[7] == {"item_id": 7, "error": "past_covariates.price: expected 120 values, got 119"}
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


def test_variates_are_forecast_together_where_the_model_can_and_it_is_said(chronos2):
    """The numbers are compared with the official code in tests/engine/test_joint.py."""
    (model,) = chronos2.get("/v1/models").json["models"]
    assert (model["multivariate_how"], model["capabilities"]["multivariate"]) == ("joint", True)
    gappy = [None if at % 5 == 0 else value for at, value in enumerate(WAVE[::-1])]
    answer = ask(chronos2, {"target": [WAVE, gappy]}, prediction_length=3, quantile_levels=[0.25])
    alone = ask(chronos2, {"target": WAVE}, {"target": gappy}, prediction_length=3, quantile_levels=[0.25])
    assert answer["multivariate_how"] == "joint"
    crossed = ask(
        chronos2, {"target": WAVE}, {"target": gappy}, prediction_length=3, quantile_levels=[0.25], cross_learning=True
    )
    for name in ("mean", "0.25"):
        single, together = ([one[name] for one in made["predictions"]] for made in (alone, crossed))
        assert answer["predictions"][0][name] == together  # the same group
        assert np.abs(np.subtract(together, single)).min() > 1e-6


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
        "POST /v1/imputation: naive does not serve it; "
        "it serves /v1/forecast, /v1/cross_validation, /v1/anomaly_detection"
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


def test_a_model_without_covariates_gets_them_by_a_regression(naive):
    """The naive family repeats the last value, so the difference is the effect of the covariate alone."""
    drive = RNG.normal(0, 5, 124)
    target = (np.asarray(WAVE) + drive[:120]).tolist()
    known = {"past_covariates": {"load": drive[:120].tolist()}, "future_covariates": {"load": drive[120:].tolist()}}
    answer = ask(naive, {"target": target} | known, prediction_length=4)
    assert answer["covariates_how"] == "regression"
    plain = ask(naive, {"target": WAVE}, prediction_length=4)
    assert "covariates_how" not in plain
    with_, without = (np.array(one["predictions"][0]["mean"]) for one in (answer, plain))
    np.testing.assert_allclose(with_ - without, drive[120:], atol=0.5)
    tdgpt = naive.post("/ds_predict", {"input": target, "next_len": 4, "dynamic_real": [drive.tolist()]}).json
    assert (tdgpt["output"], tdgpt["covariates_how"]) == (answer["predictions"][0]["mean"], "regression")


def test_categories_help_a_model_without_covariates(naive):
    closed = np.arange(124) % 7 == 3
    target = np.where(closed[:120], 5.0, 50.0).tolist()
    series = {"target": target, "past_covariates": {"day": np.where(closed[:120], "closed", "open").tolist()}}
    ahead = {"future_covariates": {"day": ["open", "open", "open", "closed"]}}
    mean = ask(naive, series | ahead, prediction_length=4)["predictions"][0]["mean"]
    assert mean[3] < 15 < 40 < min(mean[:3])


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


def validate(live: Live, *inputs: object, **parameters: object) -> dict:
    answer = live.post("/v1/cross_validation", {"inputs": list(inputs), "parameters": parameters})
    assert answer.status == 200, answer.body
    return answer.json


def test_each_window_is_the_forecast_from_its_cutoff(chronos2):
    levels = [0.1, 0.9]
    inputs = [{"item_id": at, "target": WAVE[at:], "start": "2024-01-01"} for at in range(3)]
    answer = validate(
        chronos2, *inputs, prediction_length=6, n_windows=3, step_size=4, quantile_levels=levels, freq="h"
    )
    for at, one in enumerate(answer["predictions"]):
        points = 120 - at
        assert [window["cutoff"] for window in one["windows"]] == [points - 14, points - 10, points - 6]
        for window in one["windows"]:
            cut = inputs[at] | {"target": WAVE[at:][: window["cutoff"]]}
            (alone,) = ask(chronos2, cut, prediction_length=6, quantile_levels=levels, freq="h")["predictions"]
            assert (window["start"], window["timestamps"]) == (alone["start"], alone["timestamps"])
            for name in ("mean", "0.1", "0.9"):
                np.testing.assert_allclose(window[name], alone[name], rtol=2e-4)
        assert set(one["metrics"]) == set(one["seasonal_naive"]) == {"mase", "rmsse", "wql", "coverage"}
        errors = [
            np.mean(np.abs(np.subtract(window["mean"], WAVE[at:][window["cutoff"] :][:6]))) for window in one["windows"]
        ]
        season = one["season_length"]
        scales = [np.mean(np.abs(np.subtract(past[season:], past[:-season]))) for past in histories(WAVE[at:], one)]
        assert one["metrics"]["mase"] == pytest.approx(np.mean(np.divide(errors, scales)))
    means = [one["metrics"]["mase"] for one in answer["predictions"]]
    assert answer["metrics"]["mase"] == pytest.approx(np.mean(means))


def histories(series: list[float], one: dict) -> list[np.ndarray]:
    return [np.array(series[: window["cutoff"]]) for window in one["windows"]]


def test_covariates_known_in_advance_are_taken_from_the_history_in_each_window(chronos2):
    ahead = RNG.normal(size=120).tolist()
    series = {"target": WAVE, "past_covariates": {"a": ahead}, "future_covariates": {"a": []}}
    (one,) = validate(chronos2, series, prediction_length=5, quantile_levels=[0.5])["predictions"]
    cut = {"target": WAVE[:115], "past_covariates": {"a": ahead[:115]}, "future_covariates": {"a": ahead[115:]}}
    (alone,) = ask(chronos2, cut, prediction_length=5, quantile_levels=[0.5])["predictions"]
    np.testing.assert_allclose(one["windows"][0]["mean"], alone["mean"], rtol=1e-6)


def test_a_season_is_given_or_found_and_variates_have_one_each(naive):
    daily, weekly = (np.resize(RNG.normal(0, 5, season), 140).tolist() for season in (14, 7))
    answer = validate(naive, {"target": [daily, weekly]}, prediction_length=7, n_windows=2)
    assert answer["predictions"][0]["season_length"] == [14, 7]
    assert answer["seasonal_naive"]["mase"] is None  # it is never wrong, so there is nothing to divide by
    assert len(answer["predictions"][0]["windows"][1]["mean"]) == 2
    given = validate(naive, {"target": daily}, prediction_length=7, season_length=7)
    assert given["predictions"][0]["season_length"] == 7


def test_a_series_too_short_for_its_windows_is_refused_in_its_place(naive):
    answer = validate(naive, {"item_id": "s", "target": WAVE[:20]}, {"target": WAVE}, prediction_length=8, n_windows=3)
    sentence = "target: expected at least 25 points for 3 windows, got 20"
    assert answer["predictions"][0] == {
        "item_id": "s",
        "error": f"{sentence}: send more points, or fewer or shorter windows",
    }
    assert len(answer["predictions"][1]["windows"]) == 3
    too_many = naive.post("/v1/cross_validation", {"inputs": [{"target": WAVE}] * 20, "parameters": {"n_windows": 51}})
    assert (too_many.status, too_many.json["error"][:47]) == (413, "inputs: expected at most 1000 series, got 1020 ")


def test_gaps_of_many_series_are_filled(moment):
    holes = [None if 40 <= at < 50 else value for at, value in enumerate(WAVE)]
    inputs = [
        {"item_id": "a", "target": holes, "start": "2024-01-01T00:00:00"},
        {"item_id": "b", "target": WAVE},
        {"item_id": "c", "target": [holes, WAVE]},
        {"item_id": "d", "target": [None] * 12},
        {"item_id": "e", "target": WAVE, "past_covariates": {"x": WAVE}},
    ]
    answer = moment.post("/v1/imputation", {"inputs": inputs, "parameters": {"freq": "15min", "horizon": 3}}).json
    filled, whole, both, refused, _ = answer["predictions"]
    assert filled["mask"] == [int(value is None) for value in holes]
    assert [value for value, gap in zip(filled["target"], filled["mask"], strict=True) if not gap] == WAVE[:40] + WAVE[
        50:
    ]
    assert filled["timestamps"][-1] == "2024-01-02T05:45:00"
    assert (whole["target"], sum(whole["mask"])) == (WAVE, 0)
    assert both["mask"] == [filled["mask"], whole["mask"]]
    assert refused == {"item_id": "d", "error": "target: expected at least one number, got 12 missing values"}
    assert answer["multivariate_how"] == "each"
    assert answer["warnings"] == [
        "parameters.horizon: not understood and ignored; known are freq",
        "inputs[].past_covariates: not understood and ignored; known are item_id, start, target",
    ]
    tdgpt = {"input": holes, "ts": list(range(120)), "precision": "s", "freq": "s"}
    np.testing.assert_allclose(filled["target"], moment.post("/imputation", tdgpt).json["target"], rtol=1e-5)


def test_more_gaps_than_a_series_may_have_are_refused(moment):
    series = [1.0, 2.0, *[None] * 2049, 3.0]
    (one,) = moment.post("/v1/imputation", {"inputs": [{"target": series}]}).json["predictions"]
    assert one == {"error": "target: expected at most 2048 points to fill, got 2049"}


def test_a_single_series_does_not_wait_for_a_large_request(serve, tmp_path):
    """Each batch of the model takes a moment here, so order alone decides."""
    (tmp_path / "naive.json").write_text('{"delay_s": 0.15}')
    live = serve("naive", "--model-folder", str(tmp_path), "--threads", "1").until_ready()
    order = []

    def large() -> None:
        inputs = [{"item_id": at, "target": [float((i * at) % 17) for i in range(512)]} for at in range(640)]
        assert len(ask(live, *inputs, prediction_length=3)["predictions"]) == 640
        order.append("large")

    thread = threading.Thread(target=large)
    thread.start()
    until(lambda: metric(live, "tsfm_queue_length") > 100)
    for _ in range(2):
        ask(live, {"target": WAVE}, prediction_length=3)
        order.append("single")
    thread.join(60)
    assert order == ["single"] * 2 + ["large"]


def test_what_waits_for_a_client_that_has_left_is_not_computed(serve, tmp_path):
    (tmp_path / "naive.json").write_text('{"delay_s": 0.2}')
    live = serve("naive", "--model-folder", str(tmp_path), "--threads", "1").until_ready()
    inputs = [{"target": [float((i * at) % 17) for i in range(512)]} for at in range(640)]
    body = json.dumps({"inputs": inputs}).encode()
    with socket.create_connection(("127.0.0.1", live.port)) as client:
        head = f"POST /v1/forecast HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        client.sendall(head + body)
        until(lambda: metric(live, "tsfm_queue_length") > 100)
    until(lambda: metric(live, "tsfm_queue_length") == 0)
    assert live.post("/v1/forecast", {"inputs": [{"target": WAVE}]}).status == 200
    assert metric(live, "tsfm_batch_size_sum") < 600


def metric(live: Live, name: str) -> float:
    return next(
        float(line.split()[1])
        for line in live.get("/metrics").body.decode().splitlines()
        if line.startswith(f"{name} ")
    )


LARGE = {"prediction_length": 1024, "quantile_levels": [0.1, 0.25, 0.75, 0.9]}  # of 1,000 series: 100 MB of JSON


def large_request() -> bytes:
    return json.dumps(
        {"inputs": [{"item_id": at, "target": WAVE[at % 50 :]} for at in range(1000)], "parameters": LARGE}
    ).encode()


def peak_mib(live: Live) -> int:
    (line,) = [one for one in Path(f"/proc/{live.process.pid}/status").read_text().splitlines() if "VmHWM" in one]
    return int(line.split()[1]) >> 10


def test_an_answer_of_100_mb_to_a_slow_reader_delays_nobody_and_holds_bounded_memory(serve):
    live = serve("naive", "--threads", "1").until_ready()
    body = large_request()
    whole = live.post("/v1/forecast", body)
    assert len(whole.body) > 90_000_000
    predictions = whole.json["predictions"]
    assert [one["item_id"] for one in predictions] == list(range(1000))
    assert all(len(one["0.9"]) == 1024 for one in predictions)
    assert peak_mib(live) < 700
    with socket.create_connection(("127.0.0.1", live.port)) as slow:
        head = f"POST /v1/forecast HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        slow.sendall(head + body)
        got = slow.recv(10_000)
        answered = 0
        for _ in range(20):  # ten kilobytes, and others in between
            got += slow.recv(10_000)
            assert live.get("/readyz").status == 200
            assert live.post("/ds_predict", {"input": WAVE}).status == 200
            answered += 1
        assert answered == 20
        another = live.post("/v1/forecast", body)
        assert (another.status, another.headers["Retry-After"]) == (429, "1")
        assert another.json["error"].startswith("too many large answers are being made or read")
        header, _, start = got.partition(b"\r\n\r\n")
        assert int(re.search(rb"Content-Length: (\d+)", header)[1]) == len(whole.body)
        assert whole.body.startswith(start)
        assert peak_mib(live) < 700
    until(lambda: live.post("/v1/forecast", body).status == 200)
    assert peak_mib(live) < 700


def until(true: Callable[[], bool]) -> None:
    ends, pause = time.monotonic() + 60, threading.Event()
    while not true():
        assert time.monotonic() < ends
        pause.wait(0.02)


def test_the_deadline_holds_for_the_whole_request(serve, tmp_path):
    (tmp_path / "naive.json").write_text('{"delay_s": 0.2}')
    (tmp_path / "tsfm.ini").write_text(f"[naive]\ndeadline_s = 2\nmodel_folder = {tmp_path}\n")
    live = serve("naive", "--threads", "1", env={"TSFM_INI": str(tmp_path / "tsfm.ini")}).until_ready()
    one = json.dumps({"inputs": [{"target": WAVE}]}).encode()
    until(lambda: live.post("/v1/forecast", one + b" " * 300_000).status == 200)  # the process that reads is there now
    body = {"inputs": [{"target": [float((i * at) % 17) for i in range(512)]} for at in range(960)]}
    answer = live.post("/v1/forecast", body)
    assert (answer.status, answer.json["error"]) == (504, "no answer within 2 s")
    until(lambda: live.post("/v1/forecast", one).status == 200)
    assert metric(live, "tsfm_batch_size_sum") < 900
