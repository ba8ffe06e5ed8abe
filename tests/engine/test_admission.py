"""Answers that come too late or never, and memory for large ones."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tsfm import settings
from tsfm.engine.admission import SMALL_ANSWER, Admission, Deadlines
from tsfm.engine.pending import Pending, give_up
from tsfm.errors import DeadlinePassed, ModelFailed, NotReady, QueueFull


@pytest.fixture
def deadlines():
    made = Deadlines(7)
    yield made
    made.close()


def test_the_late_end_in_the_order_of_their_deadlines_and_the_others_stay(deadlines, monkeypatch):
    monkeypatch.setattr("tsfm.engine.admission.time.monotonic", lambda: 10.0)
    first, second, later = Future(), Future(), Future()
    for future, deadline in ((first, 5), (second, 9), (later, 1000)):
        deadlines.watch(future, deadline)
    for future in (first, second):
        with pytest.raises(DeadlinePassed, match="no answer within 7 s"):
            future.result(10)
    assert not later.done()


def test_a_deadline_sooner_than_the_thread_would_look_is_kept():
    made, soon = Deadlines(1000), Future()
    made.watch(soon, time.monotonic() + 0.05)
    with pytest.raises(DeadlinePassed):
        soon.result(10)
    made.close()


def test_what_is_done_is_watched_no_more_and_keeps_its_answer(deadlines):
    done = Future()
    deadlines.watch(done, 1e9)
    done.set_result(3)
    assert not deadlines._open
    give_up(done, ModelFailed("too late"))
    assert Pending(done, lambda made: made + 1).then(lambda made: made * 2).get() == 8


def test_an_answer_whose_client_has_left_says_so():
    left = Future()
    left.cancel()
    with pytest.raises(DeadlinePassed, match="the client has closed its connection"):
        Pending(left, str).get()


MIB = 1 << 20


def test_large_answers_have_a_budget_of_their_own_until_they_are_made():
    unread = [0]
    admission = Admission(settings.read("naive", {"queue_mib": "10"}), lambda: None, lambda: unread[0])
    first, second, small = (admission.enter(100) for _ in range(3))
    first.expect(50 * MIB)  # alone, any size that the task allows
    with pytest.raises(QueueFull, match=r"too many large answers are being made or read \(queue_mib = 10 MiB\)"):
        second.expect(2 * MIB)
    small.expect(SMALL_ANSWER)
    admission.leave(first)
    second.expect(2 * MIB)
    unread[0] = 9 * MIB
    with pytest.raises(QueueFull):
        small.expect(2 * MIB)
    admission.leave(second)
    unread[0] = 8 * MIB
    small.expect(2 * MIB)
    admission.close()


def test_the_steps_after_a_future_run_on_another_thread():
    made = Future()
    with ThreadPoolExecutor(1, thread_name_prefix="aside") as aside:
        there = Pending(made, lambda value: (value, threading.current_thread().name)).on(aside)
        failed = Pending(made, lambda value: 1 // value).on(aside)
        made.set_result(0)
        assert there.get() == (0, "aside_0")
        with pytest.raises(ZeroDivisionError):
            failed.get()
    with pytest.raises(NotReady, match="the service is stopping"):
        Pending(made, str).on(aside).get()
