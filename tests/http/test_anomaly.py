"""Anomaly detection against running services: what is told, what is not judged, and how it is refused."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from checkpoints import moment as moment_maker
from conftest import Live

from tsfm.engine.v1.judging import Row
from tsfm.numerics import anomaly

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(12)
POINTS = 480
WAVE = 10 + 3 * np.sin(2 * np.pi * np.arange(POINTS) / 24) + RNG.normal(0, 0.3, POINTS)


@pytest.fixture(scope="module")
def fracast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with Live("fracast", "--threads", "2", log=tmp_path_factory.mktemp("fracast") / "log", forked=True) as live:
        yield live


def detect(live: Live, *inputs: object, **parameters: object) -> list[dict]:
    answer = live.post("/v1/anomaly_detection", {"inputs": list(inputs), "parameters": parameters})
    assert answer.status == 200, answer.body
    return answer.json["predictions"]


def flagged(prediction: dict) -> list[int]:
    return [at for at, flag in enumerate(prediction["anomaly"]) if flag]


def test_a_spike_a_point_out_of_season_and_a_flat_are_told_and_gaps_are_not(fracast):
    odd = WAVE.copy()
    odd[200] += 6
    odd[306] = 10 - (odd[306] - 10)  # an ordinary value at the wrong time
    odd[350:362] = odd[350]
    series = [None if 100 <= at < 104 else value for at, value in enumerate(odd.tolist())]
    (found,) = detect(fracast, {"item_id": "pump", "start": "2024-01-01", "target": series}, freq="h", level=0.97)
    assert (found["item_id"], found["start"]) == ("pump", "2024-01-01T00:00:00")
    assert {name for name, value in found.items() if len(value) == POINTS} == {
        "anomaly", "score", "expected", "lower", "upper", "timestamps",
    }  # fmt: skip
    told = flagged(found)
    assert {200, 306} <= set(told)
    assert set(told) & set(range(350, 362))
    assert len(told) <= 45  # with the points around each, in a series of 480
    assert found["anomaly"][:16] == found["score"][:16] == found["lower"][:16] == [None] * 16
    assert found["anomaly"][100:104] == [False] * 4
    assert found["score"][100:104] == [None] * 4
    inside = [
        low <= value <= high for low, value, high in zip(found["lower"], WAVE, found["upper"], strict=True) if low
    ]
    assert 0.9 <= np.mean(inside) < 1


def test_a_level_shift_is_told_once_and_not_for_ever(fracast):
    shifted = WAVE.copy()
    shifted[240:] += 8
    (found,) = detect(fracast, {"target": shifted.tolist()})
    told = np.array(flagged(found))
    assert ((told >= 232) & (told < 288)).any()
    assert np.count_nonzero(told >= 240 + 72) <= 4  # of 168 ordinary points on the new level


def test_the_newest_points_cost_their_own_forecasts_and_are_judged_alike(fracast):
    odd = np.tile(WAVE, 3)
    odd[-5] += 6
    (newest,) = detect(fracast, {"target": odd.tolist()}, window=40)
    assert newest["anomaly"][: len(odd) - 40] == [None] * (len(odd) - 40)
    assert newest["anomaly"][-5] is True
    assert len([one for one in newest["anomaly"] if one is not None]) == 40
    assert newest["expected"][-40] == pytest.approx(WAVE[-40], abs=3)
    needed = anomaly.CONTEXT + anomaly.REFERENCE + 40
    (alone,) = detect(fracast, {"target": odd[-needed:].tolist()}, window=40)
    for name in ("score", "expected", "upper"):
        assert alone[name][-40:] == pytest.approx(newest[name][-40:], rel=1e-3, abs=1e-3)


def test_a_window_costs_as_much_in_a_long_series_as_in_a_short_one():
    """Each part of the work is a forecast of one block, or a comparison of the points that are looked at."""
    long, short = (Row.of(np.resize(WAVE, points), anomaly.BLOCK) for points in (20_000, 2_000))
    assert long.count == short.count == 2 * (anomaly.REFERENCE // anomaly.BLOCK + 2) + 1
    assert len(long.looked_at) == anomaly.REFERENCE + anomaly.BLOCK
    assert long.count < Row.of(np.resize(WAVE, 20_000), None).count / 30


def test_many_series_variates_and_refusals_stand_in_their_places(fracast):
    constant = [5.0] * 60
    predictions = detect(
        fracast,
        {"item_id": 1, "target": [WAVE[:120].tolist(), constant * 2]},
        {"item_id": 2, "target": WAVE[:16].tolist()},
        {"item_id": 3, "target": constant},
        {"item_id": 4, "target": [10**17 + int(10 * value) for value in WAVE[:100]]},
    )
    assert [one["item_id"] for one in predictions] == [1, 2, 3, 4]
    alone = detect(fracast, {"target": WAVE[:120].tolist()})[0]
    for name in ("score", "expected"):
        mine = np.array(predictions[0][name][0][16:], float)
        np.testing.assert_allclose(mine, np.array(alone[name][16:], float), rtol=1e-2, atol=1e-3)
    assert predictions[1]["error"] == (
        "target: expected more than 16 observed points, the first of which are not judged, got 16"
    )
    assert flagged(predictions[2]) == []
    assert predictions[2]["lower"][20] == predictions[2]["upper"][20] == 5
    assert predictions[3]["expected"][:16] == [None] * 16
    assert all(type(value) is int and abs(value - 10**17) < 1000 for value in predictions[3]["expected"][16:])


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"level": 1}, "level: expected a number from 1e-06 to 0.999999, got 1"),
        ({"level": "high"}, 'level: expected a number from 1e-06 to 0.999999, got "high"'),
        ({"window": 0}, "window: expected a whole number from 1 to 40000, got 0"),
    ],
)
def test_wrong_parameters_are_refused_in_words(fracast, parameters, sentence):
    answer = fracast.post("/v1/anomaly_detection", {"inputs": [{"target": WAVE.tolist()}], "parameters": parameters})
    assert (answer.status, answer.json["error"]) == (400, sentence)


def test_what_is_not_used_is_named_and_too_much_is_refused(fracast):
    series = {"target": WAVE[:60].tolist(), "past_covariates": {"price": WAVE[:60].tolist()}}
    answer = fracast.post("/v1/anomaly_detection", {"inputs": [series], "parameters": {"season": 24}})
    assert [warning.split(":")[0] for warning in answer.json["warnings"]] == [
        "parameters.season", "inputs[].past_covariates",
    ]  # fmt: skip
    many = fracast.post("/v1/anomaly_detection", {"inputs": [{"target": [1.0, 2.0] * 15_000}] * 4})
    assert many.status == 413
    assert many.json["error"].startswith("inputs: expected points that need at most 4000 forecasts")


def test_a_model_that_imputes_judges_by_reconstruction(tmp_path):
    moment_maker.make(tmp_path / "weights")
    live = Live("moment", "--model-folder", str(tmp_path / "weights"), log=tmp_path / "log", forked=True).until_ready()
    odd = WAVE[:300].copy()
    odd[150] += 40
    (found,) = detect(live, {"target": odd.tolist()})
    assert 150 in flagged(found)
    assert found["lower"][20] < found["expected"][20] < found["upper"][20]
    assert live.stop() == 0
