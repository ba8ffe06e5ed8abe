"""Answers that come too late, or never."""

import time
from concurrent.futures import Future

import pytest

from tsfm.engine.admission import Deadlines
from tsfm.engine.pending import Pending, give_up
from tsfm.errors import DeadlinePassed, ModelFailed


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
