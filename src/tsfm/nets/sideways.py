"""Pieces of a forward that do not need one another, each on a CPU of its own.

The products of a mixture of experts are many and small: two threads that share one of them mostly wait for
each other, and are done sooner with one each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

T = TypeVar("T")
U = TypeVar("U")


def each(act: Callable[[T], U], pieces: Sequence[T]) -> list[U]:
    """``[act(piece) for piece in pieces]``, as many at once as the calling thread's arithmetic may use CPUs."""
    usual = torch.get_num_threads()
    threads = min(usual, len(pieces))
    if threads < 2:
        return [act(piece) for piece in pieces]
    left = iter(enumerate(pieces))  # shared: whoever is free takes the next
    done: dict[int, U] = {}

    @torch.inference_mode()  # which each thread has to say for itself
    def work() -> None:
        for index, piece in left:
            done[index] = act(piece)

    torch.set_num_threads(1)  # for this thread; those of the pool have it already
    try:
        helpers = [_pool().submit(work) for _ in range(threads - 1)]
        work()
        for helper in helpers:
            helper.result()
    finally:
        torch.set_num_threads(usual)
    return [done[index] for index in range(len(pieces))]


@cache
def _pool() -> ThreadPoolExecutor:
    cpus = len(os.sched_getaffinity(0))
    return ThreadPoolExecutor(cpus, "arithmetic", initializer=torch.set_num_threads, initargs=(1,))
