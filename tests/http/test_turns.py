"""POSTs on an event loop: one after the other, with looks at what else has come, and the engine knows what waits."""

import asyncio
import threading
from concurrent.futures import Future

import pytest

from tsfm.engine.ingress import Ingress
from tsfm.http import turns


@pytest.fixture
def ingress():
    return Ingress()


def test_posts_run_in_their_order_and_the_ingress_is_busy_until_the_last_one(ingress):
    ran, none_left = [], []
    ingress.on_drained = lambda: none_left.append(len(ran))

    async def main():
        queue, settled = turns.Turns(ingress), asyncio.Event()
        ingress.on_drained = lambda: (none_left.append(len(ran)), settled.set())

        async def post(number):
            # They come one turn of the event loop after another, as requests do whose bytes are parsed one by one.
            for _ in range(number):
                await asyncio.sleep(0)
            await queue.run(lambda: ran.append((number, ingress.busy)))

        await asyncio.gather(*(post(number) for number in range(30)))
        assert ingress.busy  # the next one may have come just now
        await asyncio.wait_for(settled.wait(), 30)
        assert not ingress.busy

    asyncio.run(main())
    assert ran == [(number, True) for number in range(30)]
    assert none_left == [30]


def test_between_long_posts_the_event_loop_looks_for_others(ingress):
    order, long = [], threading.Event()

    def post(number):
        order.append(number)
        long.wait(turns.TURN_S)

    async def main():
        queue, loop = turns.Turns(ingress), asyncio.get_running_loop()
        posts = [queue.run(lambda number=number: post(number)) for number in range(3)]
        loop.call_soon(lambda: loop.call_soon(order.append, "get"))
        await asyncio.gather(*posts)

    asyncio.run(main())
    assert order == [0, "get", 1, 2] or order == [0, 1, "get", 2]


def test_a_post_that_fails_fails_alone(ingress):
    async def main():
        queue = turns.Turns(ingress)
        broken, sound = queue.run(lambda: 1 / 0), queue.run(lambda: "sound")
        return await asyncio.gather(broken, sound, return_exceptions=True)

    broken, sound = asyncio.run(main())
    assert isinstance(broken, ZeroDivisionError)
    assert sound == "sound"


def test_a_post_that_was_cancelled_before_its_turn_is_not_run(ingress):
    ran = []

    async def main():
        queue = turns.Turns(ingress)
        first, second = queue.run(lambda: ran.append("first")), queue.run(lambda: ran.append("second"))
        first.cancel()
        await second
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(main())
    assert ran == ["second"]


def test_what_follows_an_answer_counts_as_waiting_from_the_answer_on_and_runs_in_its_turn(ingress):
    async def main():
        queue, answer = turns.Turns(ingress), Future()
        rest = queue.after(answer, lambda: (answer.result(), ingress.busy))
        assert not ingress.busy

        def worker():
            answer.set_result(5)
            busy.append(ingress.busy)  # the loop has not had a turn yet

        thread = threading.Thread(target=worker)
        thread.start()
        thread.join()
        return await asyncio.wait_for(rest, 30)

    busy = []
    assert asyncio.run(main()) == (5, True)
    assert busy == [True]


def test_what_follows_an_answer_is_not_run_once_it_is_cancelled(ingress):
    ran = []

    async def main():
        queue, answer = turns.Turns(ingress), Future()
        left, other = queue.after(answer, lambda: ran.append("left")), queue.after(answer, lambda: ran.append("other"))
        left.cancel()
        answer.cancel()
        await asyncio.wait_for(other, 30)

    asyncio.run(main())
    assert ran == ["other"]
