"""How many threads one series gets."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest

from tsfm.engine import calibration
from tsfm.engine.forecast import ForecastCall
from tsfm.errors import ModelFailed
from tsfm.series import Forecast, Series

BATCH = [Series(np.ones(3))]


@dataclass(frozen=True)
class Takes:
    """A model that takes so long with one thread, and with four."""

    one_s: float
    four_s: float
    given: list = field(default_factory=list, compare=False)

    def run(self, batch):
        threading.Event().wait({1: self.one_s, 4: self.four_s}[self.given[-1]])
        return [None]


@pytest.mark.parametrize(
    ("one_s", "four_s", "best", "runs"),
    [
        (0.001, 0.02, 1, 1 + 2 * calibration.TRIES),
        (0.02, 0.001, 4, 1 + 2 * calibration.TRIES),
        (0.001, calibration.WORTH_TRYING_S, 4, 1),  # large: not tried
    ],
)
def test_one_series_gets_the_threads_that_it_is_done_soonest_with(monkeypatch, caplog, one_s, four_s, best, runs):
    ask = Takes(one_s, four_s)
    caplog.set_level("INFO")
    monkeypatch.setattr(calibration.cpu_threads, "use", ask.given.append)
    assert calibration.Trial(ask, 4).run(BATCH) == [best]
    assert len(ask.given) == runs
    assert (f"runs on {best} of 4 threads" in caplog.text) == (runs > 1)


class Answers:
    """A forecaster that gives the same answer to everything."""

    def __init__(self, median, quantiles):
        self.answer = Forecast(np.asarray(median), np.asarray(quantiles))

    def forecast(self, batch, horizon, levels):
        return [self.answer] * len(batch)


@pytest.mark.parametrize(
    ("median", "quantiles", "sentence"),
    [
        ([1.0], [[1.0, 2.0]] * 2, r"shape \(1,\) where \(2,\) was asked for"),
        ([1.0, 2.0], [[1.0, 2.0]], r"shape \(1, 2\) where \(2, 2\) was asked for"),
        ([1.0, 2.0], [[1.0, 2.0, 3.0]] * 2, r"shape \(2, 3\) where \(2, 2\) was asked for"),
        ([1.0, np.nan], [[1.0, 2.0]] * 2, "values that are not numbers"),
        ([1.0, 2.0], [[1.0, 2.0], [1.0, np.inf]], "values that are not numbers"),
    ],
)
def test_a_first_answer_that_is_none_is_a_failure(median, quantiles, sentence):
    ask = ForecastCall(Answers(median, quantiles), 2, (0.1, 0.9))
    with pytest.raises(ModelFailed, match=sentence):
        calibration.Trial(ask, 1).run(BATCH)


def test_where_there_is_one_thread_nothing_is_tried(monkeypatch):
    ask = Takes(0, 0)
    monkeypatch.setattr(calibration.cpu_threads, "use", ask.given.append)
    assert calibration.Trial(ask, 1).run(BATCH) == [1]
    assert ask.given == [1]


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_runs_one_large_batch_at_a_time_on_one_cpu_thread(device):
    assert (calibration.workers(device, 8), calibration.threads_of(device, 8)) == (1, 1)
    assert (calibration.workers("cpu", 2), calibration.threads_of("cpu", 2)) == (2, 2)
    assert calibration.batch_points(device, 1000) > calibration.batch_points("cpu", 1000) == 1000
