"""The service without its process: what time does to it."""

import gc
import threading
import time

import numpy as np
import pytest

from tsfm import card, settings
from tsfm.engine.engine import Engine
from tsfm.engine.work import WorkItem
from tsfm.errors import DeadlinePassed
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


def test_a_hung_model_is_unhealthy_after_stall_s_or_sooner_but_not_before_its_deadline(tmp_path):
    (tmp_path / "naive.json").write_text('{"hang_above": 5}')
    made = Engine(card.read("naive"), settings.read("naive", {"deadline_s": "1", "stall_s": "300"}))
    made.start(naive.load(tmp_path, Runtime()), tmp_path, Runtime())
    request = made.steps.read({"input": [0.0] * 40 + [1.0]}, made.limits)  # its last value stands at 6.3
    with made.admit(100) as slot:
        pending = slot.hold(made.submit(request, slot))
    assert made.healthy(sooner_s=400)
    with pytest.raises(DeadlinePassed):
        pending.get()
    ends = time.monotonic() + 30
    while made.healthy(sooner_s=400):  # its batch began a little after the request came
        assert time.monotonic() < ends
    assert not made.healthy(sooner_s=299)
    assert made.healthy(sooner_s=200)
    assert made.healthy()
    made.close(0)


def test_a_request_is_freed_once_it_is_answered_without_a_search_for_garbage(engine):
    steps = engine.task.operations["forecast"].steps()
    request = steps.read({"inputs": [{"target": [3, 4, 2, 5, 4, 6, float(at)]} for at in range(600)]}, engine.limits)
    gc.collect()
    gc.disable()
    try:
        with engine.admit(100) as slot:
            pending = slot.hold(engine.answer_checked(request, slot, steps))
        assert len(pending.get()["predictions"]) == 600
        del request, pending, slot
        ends, pause = time.monotonic() + 30, threading.Event()
        while (left := _work_items()) and time.monotonic() < ends:  # a thread is at the end of its last batch
            pause.wait(0.01)
        assert not left
    finally:
        gc.enable()


def _work_items() -> int:
    return sum(isinstance(one, WorkItem) for one in gc.get_objects())
