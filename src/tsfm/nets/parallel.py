"""Runs independent pieces of a forward pass in parallel, one CPU for each piece.

A mixture of experts has many small products. Two threads that share one product mostly wait for each other; they
finish sooner when each thread runs its own product.
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
    """``[act(piece) for piece in pieces]``, in parallel on as many CPUs as the calling thread may use for arithmetic.

    When this function returns or raises, no helper thread works on a piece any more.
    """
    usual = torch.get_num_threads()
    threads = min(usual, len(pieces))
    if threads < 2:
        return [act(piece) for piece in pieces]
    share = _Share(act, pieces)
    torch.set_num_threads(1)  # for this thread; the threads of the pool already use 1
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
    """Pieces for several threads: each thread takes the next remaining piece. A failure drops the remaining pieces."""

    def __init__(self, act: Callable[[T], U], pieces: Sequence[T]) -> None:
        self.done: dict[int, U] = {}
        self._act = act
        self._pieces = pieces
        self._next = 0
        self._lock = threading.Lock()

    @torch.inference_mode()  # each thread must set this mode itself
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
    """Threads that run the pieces.

    They are daemon threads, unlike those of ``concurrent.futures``: a hung thread must not block the process's exit.
    """

    def __init__(self, threads: int) -> None:
        self._queue: SimpleQueue[tuple[Callable[[], None], Future[None]]] = SimpleQueue()
        for number in range(threads):
            threading.Thread(target=self._loop, name=f"arithmetic-{number}", daemon=True).start()

    def submit(self, work: Callable[[], None]) -> Future[None]:
        future: Future[None] = Future()
        self._queue.put((work, future))
        return future

    def _loop(self) -> None:
        torch.get_num_threads()  # the first call in a thread copies the number that another thread set last
        torch.set_num_threads(1)
        while True:
            work, future = self._queue.get()
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001  the caller raises it
                future.set_exception(error)
            del work, future  # this also frees the pieces


@cache
def _pool() -> _Pool:
    return _Pool(len(os.sched_getaffinity(0)))
