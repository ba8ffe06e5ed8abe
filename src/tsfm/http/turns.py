"""The order in which an asyncio event loop runs requests: as ``transport.loop`` does, so that batches are as large."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from tsfm.engine.ingress import Ingress

T = TypeVar("T")
# POSTs may run for this long before the event loop looks for new input, above all for a GET.
TURN_S = 0.002
# Turns of the event loop after which a request that had come has been queued: one each to read its bytes, to start
# its task and to run that, and one to spare.
SETTLED = 4


class Turns:
    """Runs POSTs one after the other on the event loop, and tells the engine's ingress of those that wait.

    A POST is parsed, checked and submitted in one piece, without another thread; only the model computes elsewhere.
    """

    def __init__(self, ingress: Ingress) -> None:
        self._ingress = ingress
        self._posts: deque[Callable[[], None]] = deque()
        ingress.queued = self._posts
        self._empty_turns = 0
        self._turning = False

    async def run(self, act: Callable[[], T]) -> T:
        """What ``act`` returns, or raises, when its turn has come."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def post() -> None:
            if done.cancelled():
                return
            try:
                done.set_result(act())
            except Exception as error:  # noqa: BLE001  it is raised where it is waited for
                done.set_exception(error)

        self._posts.append(post)
        if not self._turning:
            self._turning = True
            loop.call_soon(self._turn, loop)
        return await done

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
        else:
            self._turning = False
            self._ingress.gone()
