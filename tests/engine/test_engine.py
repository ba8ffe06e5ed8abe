"""The service without its process: what time does to it."""

import time

import numpy as np
import pytest

from tsfm import card, settings
from tsfm.engine.engine import Service
from tsfm.http import requests
from tsfm.series import Runtime


@pytest.fixture
def service():
    made = Service(card.read("naive"), settings.read("naive", {}))
    made.start(None, Runtime())
    yield made
    made.close()


@pytest.mark.parametrize("clock", [0.0, 4e9], ids=["back-to-1970", "ahead-to-2096"])
def test_a_jump_of_the_clock_moves_no_deadline_and_no_watchdog(service, monkeypatch, clock):
    asked = requests.forecast_request({"input": [3, 4, 2, 5, 4, 6, 5, 7, 6, 8], "next_len": 2}, service.settings)
    monkeypatch.setattr(time, "time", lambda: clock)
    answer = service.admitted(100, lambda deadline: service.forecast(asked, deadline))
    np.testing.assert_allclose(answer.get().median, [8, 8], rtol=1e-6)
    assert service.ready
    assert service.healthy()
