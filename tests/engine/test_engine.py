"""The service without its process: what time does to it."""

import time

import numpy as np
import pytest

from tsfm import card, settings
from tsfm.engine.engine import Engine
from tsfm.families import naive
from tsfm.series import Runtime


@pytest.fixture
def engine():
    made = Engine(card.read("naive"), settings.read("naive", {}))
    made.start(naive.load(None, Runtime()), None, Runtime())
    yield made
    made.close()


@pytest.mark.parametrize("clock", [0.0, 4e9], ids=["back-to-1970", "ahead-to-2096"])
def test_a_jump_of_the_clock_moves_no_deadline_and_no_watchdog(engine, monkeypatch, clock):
    request = engine.steps.read({"input": [3, 4, 2, 5, 4, 6, 5, 7, 6, 8], "next_len": 2}, engine.limits)
    monkeypatch.setattr(time, "time", lambda: clock)
    with engine.admit(100) as slot:
        pending = slot.hold(engine.submit(request, slot))
    np.testing.assert_allclose(pending.get().forecast.median, [8, 8], rtol=1e-6)
    assert engine.ready
    assert engine.healthy()
