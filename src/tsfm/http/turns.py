"""Run requests on an asyncio event loop in the order of ``transport.loop``, so that batches are equally large."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from tsfm.engine.ingress import Ingress

T = TypeVar("T")
# Seconds that POSTs may run before the event loop checks for new input, in particular for a GET.
TURN_S = 0.002
# Iterations of the event loop until a request that has arrived is queued: one to read its bytes, one to start its
# task, one to run the task, and one in reserve.
SETTLED = 4
WATCH_S = 0.1  # until a client that waits is watched: that takes a task, and most have their answer before


class Turns:
    """Runs POSTs one after the other on the event loop, and reports waiting POSTs to the engine's ingress.

    A POST is parsed, checked and submitted in one step on the event loop's thread. Only the model uses other threads.
    """

    def __init__(self, ingress: Ingress) -> None:
        self._ingress = ingress
        self._posts: deque[Callable[[], None]] = deque()
        ingress.queued = self._posts
        self._empty_turns = 0
        self._turning = False

    def run(self, act: Callable[[], T]) -> asyncio.Future[T]:
        """Run ``act`` in its turn; its result or exception."""
        loop = asyncio.get_running_loop()
        done, post = _post(loop, act)
        self._posts.append(post)
        self._begin(loop)
        return done

    def after(self, future: Future[Any], act: Callable[[], T]) -> asyncio.Future[T]:
        """The same, once the model has answered.

        From that moment on it counts as waiting, as what it answers brings the client's next request. Else a worker
        would begin a batch with the first of them.
        """
        loop = asyncio.get_running_loop()
        done, post = _post(loop, act)

        def answered(_: object) -> None:  # on the worker's thread
            self._posts.append(post)
            if not self._turning:
                loop.call_soon_threadsafe(self._begin, loop)

        future.add_done_callback(answered)
        return done

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._turning:
            self._turning = True
            loop.call_soon(self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._empty_turns = 0 if self._posts else self._empty_turns + 1
        ends = time.monotonic() + TURN_S
        while self._posts:
            self._ingress.ran()
            self._posts.popleft()()
            if time.monotonic() >= ends:
                break
        if self._empty_turns < SETTLED:
            loop.call_soon(self._turn, loop)
            return
        self._turning = False
        self._ingress.drained()
        if self._posts:  # queued by a worker that has seen the turning go on
            self._begin(loop)


def _post(loop: asyncio.AbstractEventLoop, act: Callable[[], T]) -> tuple[asyncio.Future[T], Callable[[], None]]:
    """What runs ``act``, and its outcome; nothing runs any more once that is cancelled."""
    done: asyncio.Future[T] = loop.create_future()
    once = [act]  # let go when it runs: the model's future, to which it refers, keeps ``post``

    def post() -> None:
        act = once.pop()
        if done.cancelled():
            return
        try:
            done.set_result(act())
        except Exception as error:  # noqa: BLE001  (``await done`` raises it)
            done.set_exception(error)

    return done, post


async def unless(rest: asyncio.Future[T], left: Callable[[], Coroutine[Any, Any, None]]) -> T:
    """What ``rest`` becomes; it is cancelled if ``left`` ends before.

    Raises:
        CancelledError: that has happened, or the server has given up.
    """
    loop, watching = asyncio.get_running_loop(), list[asyncio.Task[None]]()

    async def watch() -> None:
        await left()
        rest.cancel()

    begin = loop.call_later(WATCH_S, lambda: watching.append(loop.create_task(watch())))
    try:
        return await rest
    finally:
        begin.cancel()
        for task in watching:
            task.cancel()
