"""The inference thread: what it puts together, what it keeps apart, and what it survives."""

import threading
import time
import weakref
from concurrent.futures import CancelledError
from dataclasses import dataclass, field

import numpy as np
import pytest

from tsfm.engine.ingress import Ingress
from tsfm.engine.planner import CALL_POINTS, split
from tsfm.engine.scheduler import Scheduler
from tsfm.engine.work import WorkItem, run_batch
from tsfm.errors import ModelFailed, NotReady, OutOfMemory
from tsfm.series import Series


@dataclass(frozen=True)
class Sum:
    """Answers each series' sum; the gate holds the model up so that items queue behind it."""

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
def scheduler():
    sizes = []
    made = Scheduler(100, sizes.append)
    made.sizes = sizes
    yield made
    made.close()


def item(ask, length, value=1.0):
    return WorkItem(Series(np.full(length, value)), ask)


def hold_up(scheduler, gate):
    """Have the thread wait inside a job of its own until the gate opens."""
    first = Sum("first", gate)
    future = scheduler.submit(item(first, 1))
    assert first.entered.wait(10)
    return future


def pile_up(scheduler, ask, lengths):
    """Hold the worker with a first item, queue the others, open the gate, and return the others' outputs."""
    first = hold_up(scheduler, ask.gate)
    futures = [scheduler.submit(item(ask, length)) for length in lengths]
    ask.gate.set()
    assert first.result(10) == 1
    return [future.result(10) for future in futures]


def test_what_waits_together_runs_together_and_each_gets_its_own_answer(scheduler):
    ask = Sum()
    assert pile_up(scheduler, ask, [10, 11, 12]) == [10, 11, 12]
    assert ask.seen == [[10, 11, 12]]
    assert scheduler.sizes == [1, 3]


def test_a_batch_costs_its_longest_context_times_its_size(scheduler):
    ask = Sum()
    pile_up(scheduler, ask, [30] * 7)
    assert [len(batch) for batch in ask.seen] == [3, 3, 1]


def test_short_and_long_series_do_not_share_a_batch(scheduler):
    ask = Sum()
    assert pile_up(scheduler, ask, [10, 50, 12, 45]) == [10, 50, 12, 45]
    assert ask.seen == [[10, 12], [45, 50]]


def test_padding_is_worth_it_as_long_as_a_call_of_its_own_costs_more():
    assert split([100, CALL_POINTS], 1 << 20) == [(0, 2)]
    assert split([100, CALL_POINTS + 101], 1 << 20) == [(0, 1), (1, 2)]
    assert split([64, 70, 80, 2000, 2040], 1 << 20) == [(0, 3), (3, 5)]
    assert split([30] * 7, 100) == [(0, 3), (3, 6), (6, 7)]
    assert split([500], 100) == [(0, 1)]


def test_a_series_beyond_the_batch_limit_runs_alone(scheduler):
    ask = Sum()
    assert pile_up(scheduler, ask, [500, 400]) == [500, 400]
    assert ask.seen == [[500], [400]]


def test_different_questions_do_not_share_a_batch(scheduler):
    gate = threading.Event()
    one, other = Sum("one", gate), Sum("other", gate)
    futures = [scheduler.submit(item(ask, 5)) for ask in (one, other, one, other)]
    gate.set()
    assert [f.result(10) for f in futures] == [5] * 4
    assert all(len(batch) <= 2 for batch in one.seen + other.seen)
    assert sum(map(len, one.seen)) == sum(map(len, other.seen)) == 2


def test_one_bad_series_fails_alone(scheduler):
    ask = Sum()
    first = hold_up(scheduler, ask.gate)
    good, bad, also_good = (scheduler.submit(item(ask, 10, value)) for value in (1.0, -1.0, 2.0))
    ask.gate.set()
    assert first.result(10) == 1
    assert good.result(10) == 10
    assert also_good.result(10) == 20
    with pytest.raises(ModelFailed, match="ValueError: negative"):
        bad.result(10)
    assert scheduler.healthy(10)


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


def test_a_batch_that_does_not_fit_in_memory_is_halved_and_only_what_never_fits_fails(scheduler):
    gate = threading.Event()
    hold_up(scheduler, gate)
    ask = Small()
    futures = [scheduler.submit(item(ask, 10)) for _ in range(8)]
    large = scheduler.submit(item(ask, 40))
    gate.set()
    assert [future.result(10) for future in futures] == [10] * 8
    with pytest.raises(OutOfMemory, match="out of memory on one series of 40 points and 0 covariates"):
        large.result(10)
    assert sorted(ask.sizes) == [1, 2, 2, 2, 2, 4, 4, 8]


def test_what_was_taken_back_or_left_is_not_computed(scheduler):
    ask = Sum()
    hold_up(scheduler, ask.gate)
    taken_back = scheduler.submit(item(ask, 10))
    assert taken_back.cancel()
    left = scheduler.submit(WorkItem(Series(np.ones(20)), ask, present=lambda: False))
    stays = scheduler.submit(item(ask, 30))
    ask.gate.set()
    assert stays.result(10) == 30
    with pytest.raises(CancelledError):
        left.result(10)
    assert ask.seen == [[30]]


def test_closing_answers_what_is_queued_and_refuses_what_comes(scheduler):
    ask = Sum()
    futures = [scheduler.submit(item(ask, n)) for n in (1, 2, 3)]
    ask.gate.set()
    scheduler.close()
    assert [future.result(0) for future in futures] == [1, 2, 3]
    with pytest.raises(NotReady):
        scheduler.submit(item(ask, 1))


def test_health_tells_a_hung_model_from_a_busy_one(scheduler):
    assert scheduler.healthy(stall_s=5)
    ask = Sum()
    future = scheduler.submit(item(ask, 3))
    assert ask.entered.wait(10)
    assert scheduler.healthy(stall_s=60)
    assert not scheduler.healthy(stall_s=0)
    ask.gate.set()
    assert future.result(10) == 3
    assert scheduler.healthy(stall_s=5)


@pytest.fixture
def workers():
    """Two workers that share four threads, and the numbers of threads that they were given."""
    given = []
    made = Scheduler(100, lambda size: None, workers=2, threads=4, use_threads=given.append)
    made.given = given
    yield made
    made.close()


def test_a_batch_alone_gets_all_threads_and_two_share_them(workers):
    first, second = Sum("first"), Sum("second")
    one = workers.submit(item(first, 10))
    assert first.entered.wait(10)
    two = workers.submit(item(second, 20))
    assert second.entered.wait(10)
    assert workers.given == [4, 2]
    second.gate.set()
    assert two.result(10) == 20
    first.gate.set()
    assert one.result(10) == 10


def test_a_single_series_gets_as_many_threads_as_suit_it(workers):
    workers.threads_alone = 1
    held, ask = Sum("held"), Sum()
    single = workers.submit(item(held, 10))
    assert held.entered.wait(10)
    with workers._lock:
        workers._backlog.waiting += [item(ask, 10) for _ in range(3)]
    several = workers.submit(item(ask, 10))
    held.gate.set()
    ask.gate.set()
    assert (single.result(10), several.result(10)) == (10, 10)
    assert workers.given[:2] == [1, 2]  # then two or more, on half of the threads


def test_what_waits_is_shared_between_the_workers_that_are_free(workers):
    gate, ask = threading.Event(), Sum()
    held = [Sum(name, gate) for name in ("one", "other")]
    futures = [workers.submit(item(each, 1)) for each in held]
    assert all(each.entered.wait(10) for each in held)
    futures += [workers.submit(item(ask, length)) for length in [10] * 6]
    ask.gate.set()
    gate.set()
    assert [future.result(10) for future in futures] == [1, 1] + [10] * 6
    assert sum(map(len, ask.seen)) == 6
    assert workers.healthy(10)


def test_a_lane_leaves_what_waits_beyond_its_share_to_the_one_that_runs_less(workers):
    held, free, ask = Sum("held"), Sum("free"), Sum()
    futures = [workers.submit(item(each, 1)) for each in (held, free)]
    assert all(each.entered.wait(10) for each in (held, free))
    futures += [workers.submit(item(ask, length)) for length in [10] * 7]
    ask.gate.set()
    free.gate.set()
    assert [future.result(10) for future in futures[1:]] == [1] + [10] * 7
    assert [len(batch) for batch in ask.seen] == [4, 2, 1]  # of 7 and the one held, of 3 and that, of 1 and that
    held.gate.set()
    assert futures[0].result(10) == 1


@dataclass(frozen=True)
class Where:
    """Answers with the name of its thread."""

    def run(self, batch):
        return [threading.current_thread().name for _ in batch]


def test_what_comes_one_by_one_runs_on_one_lane(workers):
    threads = set()
    for _ in range(10):
        threads.add(workers.submit(item(Where(), 10)).result(10))
        assert workers.healthy(10)  # each worker is at rest again
    assert threads == {"inference-0"}


def test_one_hung_lane_is_noticed_while_the_other_works(workers):
    hung, ask = Sum("hung"), Sum()
    held = workers.submit(item(hung, 1))
    assert hung.entered.wait(10)
    ask.gate.set()
    assert workers.submit(item(ask, 10)).result(10) == 10
    assert workers.healthy(60)
    assert workers.stuck(0)
    assert not workers.healthy(0)
    hung.gate.set()
    assert held.result(10) == 1
    assert workers.healthy(10)


def test_an_idle_lane_that_takes_up_no_work_is_noticed(workers):
    assert workers.healthy(10)
    deaf = workers._workers[1]
    heard, deaf.work = deaf.work, threading.Condition(workers._lock)  # nobody waits for that one
    stuck, healthy = workers.stuck(0), workers.healthy(0.2)
    deaf.work = heard
    assert not stuck
    assert not healthy
    assert workers.healthy(10)


@pytest.mark.slow
def test_hung_workers_are_waited_for_together_at_the_end(workers):
    hung = [Sum("one"), Sum("two")]
    held = []
    for ask in hung:
        held.append(workers.submit(item(ask, 1)))
        assert ask.entered.wait(10)
    began = time.monotonic()
    workers.close(3)
    assert 3 <= time.monotonic() - began < 5.5  # each by itself would be 6
    for ask in hung:
        ask.gate.set()
    assert [future.result(10) for future in held] == [1, 1]


def test_a_batch_waits_for_those_who_have_come_but_no_longer_than_the_last_one_took():
    ingress, ask = Ingress(), Sum()
    scheduler = Scheduler(100, lambda size: None, ingress=ingress)
    worker = scheduler._workers[0]
    ask.gate.set()
    ingress.queued = ["one"]
    assert scheduler.submit(item(ask, 10)).result(10) == 10  # it has no reason yet to wait at all
    assert worker.last_s < 1
    assert scheduler.healthy(10)
    worker.last_s = 1e9
    scheduler._patience_s = 1e9
    futures = [scheduler.submit(item(ask, 20)), scheduler.submit(item(ask, 21))]
    assert not any(future.done() for future in futures)
    ingress.ran()
    ingress.queued = ()
    ingress.drained()
    assert [future.result(10) for future in futures] == [20, 21]
    assert ask.seen == [[10], [20, 21]]
    scheduler.close()


def test_it_is_trimmed_up_after_a_batch_when_nothing_waits():
    trimmed, ask = threading.Semaphore(0), Sum()
    scheduler = Scheduler(100, lambda size: None, trim=trimmed.release)
    futures = [scheduler.submit(item(ask, 60)) for _ in range(3)]  # no two fit into one batch
    ask.gate.set()
    assert [future.result(10) for future in futures] == [60] * 3
    assert trimmed.acquire(timeout=10)
    scheduler.close()
    assert not trimmed.acquire(blocking=False)


def test_what_came_too_early_is_trimmed_up_later_though_nothing_more_is_asked():
    trims, done = iter([0.01, 0.01, None, None]), threading.Event()

    def trim() -> float | None:
        if (again_s := next(trims)) is None:
            done.set()
        return again_s

    ask = Sum()
    ask.gate.set()
    scheduler = Scheduler(100, lambda size: None, trim=trim)
    assert scheduler.submit(item(ask, 60)).result(10) == 60
    assert done.wait(10)
    assert scheduler.healthy(10)
    scheduler.close()


def test_a_full_batch_waits_for_nobody():
    ingress, ask = Ingress(), Sum()
    scheduler = Scheduler(100, lambda size: None, ingress=ingress)
    scheduler._patience_s = scheduler._workers[0].last_s = 1e9
    ask.gate.set()
    ingress.queued = ["one"]
    futures = [scheduler.submit(item(ask, 50)), scheduler.submit(item(ask, 50))]
    assert [future.result(10) for future in futures] == [50, 50]
    scheduler.close()


@dataclass(frozen=True)
class Exits:
    """A model package that ends the thread it is called on."""

    def run(self, batch):
        raise SystemExit("no licence")


def test_a_thread_that_a_model_ends_is_noticed_and_nobody_waits_for_it(scheduler):
    gate = threading.Event()
    hold_up(scheduler, gate)
    futures = [scheduler.submit(item(ask, 10)) for ask in (Exits(), Sum("later", gate))]
    gate.set()
    for future in futures:
        with pytest.raises(ModelFailed, match="the inference thread has ended"):
            future.result(10)
    with pytest.raises(NotReady):
        scheduler.submit(item(Sum(), 1))
    scheduler.close()
    assert scheduler.stuck(60)
    assert not scheduler.healthy(0.1)


class Heavy(set):
    """What a model computes on the way."""


class OutOfRoom:
    """A model that has memory for one series at a time, and sees what is left of its batches before."""

    def __init__(self):
        self.held, self.left = [], []

    def run(self, batch):
        self.left.append(sum(one() is not None for one in self.held))
        half_done = Heavy()
        self.held.append(weakref.ref(half_done))
        if len(batch) > 1:
            raise MemoryError
        return [len(self.held)]


def test_what_a_batch_held_that_failed_is_freed_before_its_halves_are_run():
    ask = OutOfRoom()
    batch = [item(ask, 10) for _ in range(4)]
    run_batch(batch)
    assert [one.future.result(0) for one in batch] == [3, 4, 6, 7]
    assert ask.left == [0] * 7
