"""The inference thread: what it puts together, what it keeps apart, and what it survives."""

import threading
import time
from concurrent.futures import CancelledError
from dataclasses import dataclass, field

import numpy as np
import pytest

from tsfm.engine.ingress import Arrivals
from tsfm.engine.planner import CALL_POINTS, split
from tsfm.engine.scheduler import Batcher
from tsfm.engine.work import Job
from tsfm.errors import ModelFailed, NotReady, OutOfMemory
from tsfm.series import Series


@dataclass(frozen=True)
class Sum:
    """Answers each series' sum; the gate holds the model up so that jobs pile up behind it."""

    name: str = ""
    gate: threading.Event = field(default_factory=threading.Event, compare=False)
    entered: threading.Event = field(default_factory=threading.Event, compare=False)
    seen: list = field(default_factory=list, compare=False)

    def run(self, batch):
        self.entered.set()
        assert self.gate.wait(10)
        self.seen.append(sorted(len(series) for series in batch))
        for series in batch:
            if series.target[0] < 0:
                raise ValueError("negative")
        return [float(series.target.sum()) for series in batch]


@pytest.fixture
def batcher():
    sizes = []
    made = Batcher(100, sizes.append)
    made.sizes = sizes
    yield made
    made.close()


def job(ask, length, value=1.0):
    return Job(Series(np.full(length, value)), ask)


def hold_up(batcher, gate):
    """Have the thread wait inside a job of its own until the gate opens."""
    first = Sum("first", gate)
    future = batcher.submit(job(first, 1))
    assert first.entered.wait(10)
    return future


def pile_up(batcher, ask, lengths):
    """Hold the thread with a first job, queue the others behind it, let go, and give the others' answers."""
    first = hold_up(batcher, ask.gate)
    futures = [batcher.submit(job(ask, length)) for length in lengths]
    ask.gate.set()
    assert first.result(10) == 1
    return [future.result(10) for future in futures]


def test_what_waits_together_runs_together_and_each_gets_its_own_answer(batcher):
    ask = Sum()
    assert pile_up(batcher, ask, [10, 11, 12]) == [10, 11, 12]
    assert ask.seen == [[10, 11, 12]]
    assert batcher.sizes == [1, 3]


def test_a_batch_costs_its_longest_context_times_its_size(batcher):
    ask = Sum()
    pile_up(batcher, ask, [30] * 7)
    assert [len(batch) for batch in ask.seen] == [3, 3, 1]


def test_short_and_long_series_do_not_share_a_batch(batcher):
    ask = Sum()
    assert pile_up(batcher, ask, [10, 50, 12, 45]) == [10, 50, 12, 45]
    assert ask.seen == [[10, 12], [45, 50]]


def test_padding_is_worth_it_as_long_as_a_call_of_its_own_costs_more():
    assert split([100, CALL_POINTS], 1 << 20) == [(0, 2)]
    assert split([100, CALL_POINTS + 101], 1 << 20) == [(0, 1), (1, 2)]
    assert split([64, 70, 80, 2000, 2040], 1 << 20) == [(0, 3), (3, 5)]
    assert split([30] * 7, 100) == [(0, 3), (3, 6), (6, 7)]
    assert split([500], 100) == [(0, 1)]


def test_a_series_beyond_the_batch_limit_runs_alone(batcher):
    ask = Sum()
    assert pile_up(batcher, ask, [500, 400]) == [500, 400]
    assert ask.seen == [[500], [400]]


def test_different_questions_do_not_share_a_batch(batcher):
    gate = threading.Event()
    one, other = Sum("one", gate), Sum("other", gate)
    futures = [batcher.submit(job(ask, 5)) for ask in (one, other, one, other)]
    gate.set()
    assert [f.result(10) for f in futures] == [5] * 4
    assert all(len(batch) <= 2 for batch in one.seen + other.seen)
    assert sum(map(len, one.seen)) == sum(map(len, other.seen)) == 2


def test_one_bad_series_fails_alone(batcher):
    ask = Sum()
    first = hold_up(batcher, ask.gate)
    good, bad, also_good = (batcher.submit(job(ask, 10, value)) for value in (1.0, -1.0, 2.0))
    ask.gate.set()
    assert first.result(10) == 1
    assert good.result(10) == 10
    assert also_good.result(10) == 20
    with pytest.raises(ModelFailed, match="ValueError: negative"):
        bad.result(10)
    assert batcher.healthy(10)


@dataclass(frozen=True)
class Small:
    """A model in whose memory three series of ten points fit."""

    gate: threading.Event = field(default_factory=threading.Event, compare=False)
    sizes: list = field(default_factory=list, compare=False)

    def run(self, batch):
        self.sizes.append(len(batch))
        if sum(map(len, batch)) > 30:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return [len(series) for series in batch]


def test_a_batch_that_does_not_fit_in_memory_is_halved_and_only_what_never_fits_fails(batcher):
    gate = threading.Event()
    hold_up(batcher, gate)
    ask = Small()
    futures = [batcher.submit(job(ask, 10)) for _ in range(8)]
    large = batcher.submit(job(ask, 40))
    gate.set()
    assert [future.result(10) for future in futures] == [10] * 8
    with pytest.raises(OutOfMemory, match="out of memory on one series of 40 points and 0 covariates"):
        large.result(10)
    assert sorted(ask.sizes) == [1, 2, 2, 2, 2, 4, 4, 8]


def test_what_was_taken_back_or_left_is_not_computed(batcher):
    ask = Sum()
    hold_up(batcher, ask.gate)
    taken_back = batcher.submit(job(ask, 10))
    assert taken_back.cancel()
    left = batcher.submit(Job(Series(np.ones(20)), ask, wanted=lambda: False))
    stays = batcher.submit(job(ask, 30))
    ask.gate.set()
    assert stays.result(10) == 30
    with pytest.raises(CancelledError):
        left.result(10)
    assert ask.seen == [[30]]


def test_closing_answers_what_is_queued_and_refuses_what_comes(batcher):
    ask = Sum()
    futures = [batcher.submit(job(ask, n)) for n in (1, 2, 3)]
    ask.gate.set()
    batcher.close()
    assert [future.result(0) for future in futures] == [1, 2, 3]
    with pytest.raises(NotReady):
        batcher.submit(job(ask, 1))


def test_health_tells_a_hung_model_from_a_busy_one(batcher):
    assert batcher.healthy(stall_s=5)
    ask = Sum()
    future = batcher.submit(job(ask, 3))
    assert ask.entered.wait(10)
    assert batcher.healthy(stall_s=60)
    assert not batcher.healthy(stall_s=0)
    ask.gate.set()
    assert future.result(10) == 3
    assert batcher.healthy(stall_s=5)


@pytest.fixture
def lanes():
    """Two lanes that share four threads, and the numbers of threads that they were given."""
    given = []
    made = Batcher(100, lambda size: None, lanes=2, threads=4, use_threads=given.append)
    made.given = given
    yield made
    made.close()


def test_a_batch_alone_gets_all_threads_and_two_share_them(lanes):
    first, second = Sum("first"), Sum("second")
    one = lanes.submit(job(first, 10))
    assert first.entered.wait(10)
    two = lanes.submit(job(second, 20))
    assert second.entered.wait(10)
    assert lanes.given == [4, 2]
    second.gate.set()
    assert two.result(10) == 20
    first.gate.set()
    assert one.result(10) == 10


def test_a_single_series_gets_as_many_threads_as_suit_it(lanes):
    lanes.threads_alone = 1
    held, ask = Sum("held"), Sum()
    single = lanes.submit(job(held, 10))
    assert held.entered.wait(10)
    with lanes._lock:
        lanes._waiting += [job(ask, 10) for _ in range(3)]
    several = lanes.submit(job(ask, 10))
    held.gate.set()
    ask.gate.set()
    assert (single.result(10), several.result(10)) == (10, 10)
    assert lanes.given[:2] == [1, 2]  # then two or more, on half of the threads


def test_what_waits_is_shared_between_the_lanes_that_are_free(lanes):
    gate, ask = threading.Event(), Sum()
    held = [Sum(name, gate) for name in ("one", "other")]
    futures = [lanes.submit(job(each, 1)) for each in held]
    assert all(each.entered.wait(10) for each in held)
    futures += [lanes.submit(job(ask, length)) for length in [10] * 6]
    ask.gate.set()
    gate.set()
    assert [future.result(10) for future in futures] == [1, 1] + [10] * 6
    assert sum(map(len, ask.seen)) == 6
    assert lanes.healthy(10)


def test_a_lane_leaves_what_waits_beyond_its_share_to_the_one_that_runs_less(lanes):
    held, free, ask = Sum("held"), Sum("free"), Sum()
    futures = [lanes.submit(job(each, 1)) for each in (held, free)]
    assert all(each.entered.wait(10) for each in (held, free))
    futures += [lanes.submit(job(ask, length)) for length in [10] * 7]
    ask.gate.set()
    free.gate.set()
    assert [future.result(10) for future in futures[1:]] == [1] + [10] * 7
    assert [len(batch) for batch in ask.seen] == [4, 2, 1]  # of 7 and the one held, of 3 and that, of 1 and that
    held.gate.set()
    assert futures[0].result(10) == 1


@dataclass(frozen=True)
class Where:
    """Answers on which thread it was asked."""

    def run(self, batch):
        return [threading.current_thread().name for _ in batch]


def test_what_comes_one_by_one_runs_on_one_lane(lanes):
    threads = set()
    for _ in range(10):
        threads.add(lanes.submit(job(Where(), 10)).result(10))
        assert lanes.healthy(10)  # each lane is at rest again
    assert threads == {"inference-0"}


def test_one_hung_lane_is_noticed_while_the_other_works(lanes):
    hung, ask = Sum("hung"), Sum()
    held = lanes.submit(job(hung, 1))
    assert hung.entered.wait(10)
    ask.gate.set()
    assert lanes.submit(job(ask, 10)).result(10) == 10
    assert lanes.healthy(60)
    assert lanes.stuck(0)
    assert not lanes.healthy(0)
    hung.gate.set()
    assert held.result(10) == 1
    assert lanes.healthy(10)


def test_an_idle_lane_that_takes_up_no_work_is_noticed(lanes):
    assert lanes.healthy(10)
    deaf = lanes._lanes[1]
    heard, deaf.work = deaf.work, threading.Condition(lanes._lock)  # nobody waits for that one
    stuck, healthy = lanes.stuck(0), lanes.healthy(0.2)
    deaf.work = heard
    assert not stuck
    assert not healthy
    assert lanes.healthy(10)


def test_hung_lanes_are_waited_for_together_at_the_end(lanes):
    hung = [Sum("one"), Sum("two")]
    held = []
    for ask in hung:
        held.append(lanes.submit(job(ask, 1)))
        assert ask.entered.wait(10)
    began = time.monotonic()
    lanes.close(3)
    assert 3 <= time.monotonic() - began < 5.5  # each by itself would be 6
    for ask in hung:
        ask.gate.set()
    assert [future.result(10) for future in held] == [1, 1]


def test_a_batch_waits_for_those_who_have_come_but_no_longer_than_the_last_one_took():
    arrivals, ask = Arrivals(), Sum()
    batcher = Batcher(100, lambda size: None, arrivals=arrivals)
    lane = batcher._lanes[0]
    ask.gate.set()
    arrivals.queued = ["one"]
    assert batcher.submit(job(ask, 10)).result(10) == 10  # it has no reason yet to wait at all
    assert lane.last_s < 1
    assert batcher.healthy(10)
    lane.last_s = 1e9
    batcher._patience_s = 1e9
    futures = [batcher.submit(job(ask, 20)), batcher.submit(job(ask, 21))]
    assert not any(future.done() for future in futures)
    arrivals.ran()
    arrivals.queued = ()
    arrivals.gone()
    assert [future.result(10) for future in futures] == [20, 21]
    assert ask.seen == [[10], [20, 21]]
    batcher.close()


def test_it_is_tidied_up_after_a_batch_when_nothing_waits():
    tidied, ask = threading.Semaphore(0), Sum()
    batcher = Batcher(100, lambda size: None, tidy=tidied.release)
    futures = [batcher.submit(job(ask, 60)) for _ in range(3)]  # no two fit into one batch
    ask.gate.set()
    assert [future.result(10) for future in futures] == [60] * 3
    assert tidied.acquire(timeout=10)
    batcher.close()
    assert not tidied.acquire(blocking=False)


def test_a_full_batch_waits_for_nobody():
    arrivals, ask = Arrivals(), Sum()
    batcher = Batcher(100, lambda size: None, arrivals=arrivals)
    batcher._patience_s = batcher._lanes[0].last_s = 1e9
    ask.gate.set()
    arrivals.queued = ["one"]
    futures = [batcher.submit(job(ask, 50)), batcher.submit(job(ask, 50))]
    assert [future.result(10) for future in futures] == [50, 50]
    batcher.close()


@dataclass(frozen=True)
class Exits:
    """A model package that ends the thread it is called on."""

    def run(self, batch):
        raise SystemExit("no licence")


def test_a_thread_that_a_model_ends_is_noticed_and_nobody_waits_for_it(batcher):
    gate = threading.Event()
    hold_up(batcher, gate)
    futures = [batcher.submit(job(ask, 10)) for ask in (Exits(), Sum("later", gate))]
    gate.set()
    for future in futures:
        with pytest.raises(ModelFailed, match="the inference thread has ended"):
            future.result(10)
    with pytest.raises(NotReady):
        batcher.submit(job(Sum(), 1))
    batcher.close()
    assert batcher.stuck(60)
    assert not batcher.healthy(0.1)
