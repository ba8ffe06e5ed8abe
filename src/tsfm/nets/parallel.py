"""Pieces of a forward that do not need one another, each on a CPU of its own.

The products of a mixture of experts are many and small: two threads that share one of them mostly wait for
each other, and are done sooner with one each.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import cache
from queue import SimpleQueue
from typing import Generic, TypeVar

import torch

T = TypeVar("T")
U = TypeVar("U")


def each(act: Callable[[T], U], pieces: Sequence[T]) -> list[U]:
    """``[act(piece) for piece in pieces]``, as many at once as the calling thread's arithmetic may use CPUs.

    When it returns or raises, no helper works on a piece any more.
    """
    usual = torch.get_num_threads()
    threads = min(usual, len(pieces))
    if threads < 2:
        return [act(piece) for piece in pieces]
    share = _Share(act, pieces)
    torch.set_num_threads(1)  # for this thread; those of the pool have it already
    helpers = [_pool().submit(share.work) for _ in range(threads - 1)]
    try:
        share.work()
    finally:
        failures = [helper.exception() for helper in helpers]  # waits for each
        torch.set_num_threads(usual)
    for failure in filter(None, failures):
        raise failure
    return [share.done[index] for index in range(len(pieces))]


class _Share(Generic[T, U]):
    """Pieces from which every thread takes the next one that is left; after a failure none is."""

    def __init__(self, act: Callable[[T], U], pieces: Sequence[T]) -> None:
        self.done: dict[int, U] = {}
        self._act = act
        self._pieces = pieces
        self._next = 0
        self._lock = threading.Lock()

    @torch.inference_mode()  # which each thread has to say for itself
    def work(self) -> None:
        while (index := self._take()) is not None:
            try:
                made = self._act(self._pieces[index])
            except BaseException:
                self._give_up()
                raise
            with self._lock:
                self.done[index] = made

    def _take(self) -> int | None:
        with self._lock:
            index, self._next = self._next, self._next + 1
        return index if index < len(self._pieces) else None

    def _give_up(self) -> None:
        with self._lock:
            self._next = len(self._pieces)


class _Pool:
    """Threads for pieces. Daemons, unlike those of ``concurrent.futures``: a hung one must not hold the process."""

    def __init__(self, threads: int) -> None:
        self._asked: SimpleQueue[tuple[Callable[[], None], Future[None]]] = SimpleQueue()
        for number in range(threads):
            threading.Thread(target=self._loop, name=f"arithmetic-{number}", daemon=True).start()

    def submit(self, work: Callable[[], None]) -> Future[None]:
        future: Future[None] = Future()
        self._asked.put((work, future))
        return future

    def _loop(self) -> None:
        torch.get_num_threads()  # the first call in a thread takes over the number that another thread has set last
        torch.set_num_threads(1)
        while True:
            work, future = self._asked.get()
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001  it is raised in the caller
                future.set_exception(error)
            del work, future  # and the pieces with them


@cache
def _pool() -> _Pool:
    return _Pool(len(os.sched_getaffinity(0)))
