"""How many threads one series gets."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest

from tsfm import asks, cpus
from tsfm.series import Series

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
        (0.001, 0.02, 1, 1 + 2 * asks.TRIES),
        (0.02, 0.001, 4, 1 + 2 * asks.TRIES),
        (0.001, asks.WORTH_TRYING_S, 4, 1),  # large: not tried
    ],
)
def test_one_series_gets_the_threads_that_it_is_done_soonest_with(monkeypatch, one_s, four_s, best, runs):
    ask = Takes(one_s, four_s)
    monkeypatch.setattr(cpus, "use", ask.given.append)
    assert asks.Trial(ask, 4).run(BATCH) == [best]
    assert len(ask.given) == runs


def test_where_there_is_one_thread_nothing_is_tried(monkeypatch):
    ask = Takes(0, 0)
    monkeypatch.setattr(cpus, "use", ask.given.append)
    assert asks.Trial(ask, 1).run(BATCH) == [1]
    assert ask.given == [1]
