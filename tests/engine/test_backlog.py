"""Who is next: single series beside requests of many, without a model and without threads."""

import numpy as np
import pytest

from tsfm.engine.backlog import CALM, MOST_BEFORE, Backlog
from tsfm.engine.planner import chunks
from tsfm.engine.work import WorkItem
from tsfm.series import Series

BATCH_POINTS = 80


def item(length=10, call="call"):
    return WorkItem(Series(np.ones(length)), call)


def many(count, length=10, call="call"):
    return [item(length, call) for _ in range(count)]


@pytest.fixture
def backlog():
    return Backlog(BATCH_POINTS, 1)


def taken(backlog):
    batches = []
    while backlog:
        batches.append(backlog.take(0))
    return batches


def test_a_large_request_runs_in_larger_batches_once_nothing_has_come_for_a_while(backlog):
    items = many(4 * CALM + 27)
    backlog.add_many(items)
    assert backlog.length == len(items)
    batches = taken(backlog)
    assert [len(batch) for batch in batches] == [4] * CALM + [8, 8, 4, 4, 3]  # small ones again before the end
    assert {id(one) for batch in batches for one in batch} == set(map(id, items))
    assert backlog.length == 0


def test_what_comes_in_between_makes_the_batches_of_a_large_request_small_again(backlog):
    backlog.add_many(many(100))
    while len(backlog.take(0)) == 4:
        pass
    backlog.waiting.append(item())
    assert [len(backlog.take(0)) for _ in range(CALM + 2)] == [1, *[4] * CALM, 8]


def test_an_engine_that_has_one_request_at_a_time_runs_whole_batches():
    backlog = Backlog(BATCH_POINTS, 2, alone=True)
    backlog.add_many(many(20))
    assert [len(batch) for batch in taken(backlog)] == [8, 8, 4]


def test_a_single_series_goes_before_the_rest_of_a_large_request_and_alone(backlog):
    backlog.add_many(many(40))
    assert len(backlog.take(0)) == 4
    single = item()
    backlog.waiting.append(single)
    assert backlog.take(4) == [single]
    assert len(backlog.take(0)) == 4


def test_single_series_that_never_end_hold_a_large_request_up_for_few_batches(backlog):
    large = many(20)
    backlog.add_many(large)
    turns = []
    for _ in range(30):
        backlog.waiting.append(item())
        turns.append(backlog.take(0)[0] in large)
        if not backlog._large:
            break
    assert turns == ([False] * MOST_BEFORE + [True]) * 5


def test_large_requests_take_turns(backlog):
    one, other = many(24), many(24)
    backlog.add_many(one)
    backlog.add_many(other)
    assert [batch[0] in one for batch in taken(backlog)] == [True, False] * 6


def test_a_request_that_fits_into_one_batch_waits_like_single_series(backlog):
    backlog.add_many(many(6))
    backlog.waiting += many(2)
    assert len(backlog.take(0)) == 8


def test_a_large_request_is_cut_by_call_and_length():
    mixed = [item(length) for length in (10, 40, 12, 38, 11, 39)] + many(4, 20, "other call")
    cut = chunks(mixed, BATCH_POINTS // 2)
    assert [[len(one.series) for one in chunk] for chunk in cut] == [[40], [39], [38], [12, 11, 10], [20] * 2, [20] * 2]
    assert all(len({one.group for one in chunk}) == 1 for chunk in cut)


def test_padding_costs_no_more_than_another_call():
    lengths = [500] * 4 + [100] * 4
    cut = chunks([item(length) for length in lengths], 16 * 512)
    assert [[len(one.series) for one in chunk] for chunk in cut] == [[500] * 4 + [100] * 2, [100] * 2]


def test_a_series_longer_than_a_batch_is_one_of_its_own():
    assert [len(chunk) for chunk in chunks(many(2, 200), BATCH_POINTS)] == [1, 1]


def test_the_batches_of_all_workers_together_are_at_first_half_as_large_as_one():
    backlog = Backlog(BATCH_POINTS, 2)
    backlog.add_many(many(10))
    assert [len(batch) for batch in taken(backlog)] == [2] * 5


def test_everything_is_taken_out_when_the_threads_end(backlog):
    backlog.add_many(many(20))
    backlog.waiting.append(item())
    assert len(backlog.clear()) == 21
    assert not backlog
