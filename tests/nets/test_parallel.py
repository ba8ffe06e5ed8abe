"""Pieces side by side: the same answers, on as many threads as the caller's arithmetic may use."""

import threading

import forked
import pytest
import torch

from tsfm.nets.parallel import each


@pytest.fixture
def two_threads():
    usual = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(usual)


def test_answers_stand_in_the_order_of_their_pieces(two_threads):
    with torch.inference_mode():
        done = each(lambda n: torch.full((1,), n) * 2, list(range(50)))
    assert torch.cat(done).tolist() == [2 * n for n in range(50)]
    assert torch.get_num_threads() == 2


def test_pieces_run_at_once_each_on_one_thread_without_gradients(two_threads):
    meet = threading.Barrier(2)

    def act(_):
        meet.wait(10)  # nobody passes unless both are here at once
        return threading.current_thread().name, torch.get_num_threads(), torch.is_inference_mode_enabled()

    names, threads, modes = zip(*each(act, range(2)), strict=True)
    assert len(set(names)) == 2
    assert set(threads) == {1}
    assert set(modes) == {True}


def test_with_one_thread_everything_stays_on_the_callers():
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert set(each(lambda _: threading.current_thread(), range(5))) == {threading.current_thread()}
    finally:
        torch.set_num_threads(usual)


def test_a_piece_that_fails_fails_the_whole_and_the_threads_are_given_back(two_threads):
    def act(n):
        if n == 3:
            raise ValueError("three")
        return n

    with pytest.raises(ValueError, match="three"):
        each(act, range(8))
    assert torch.get_num_threads() == 2


def test_when_the_callers_own_piece_fails_the_helpers_are_waited_for(two_threads):
    inside, failed, working = threading.Barrier(2), threading.Event(), []
    caller = threading.current_thread()

    def act(_):
        inside.wait(10)
        if threading.current_thread() is caller:
            failed.set()
            raise ValueError("mine")
        working.append(True)
        assert failed.wait(10)
        threading.Event().wait(0.2)  # it goes on after the caller's failure
        working.clear()

    with pytest.raises(ValueError, match="mine"):
        each(act, range(2))
    assert not working


def test_no_piece_is_begun_after_one_has_failed(two_threads):
    begun, both = [], threading.Barrier(2)

    def act(n):
        begun.append(n)
        both.wait(10)
        raise ValueError(f"{n}")

    with pytest.raises(ValueError, match=r"0|1"):
        each(act, range(50))
    assert sorted(begun) == [0, 1]


@pytest.mark.slow
def test_a_hung_helper_does_not_keep_the_process():
    code = (
        "import threading, torch\n"
        "from tsfm.nets.parallel import each\n"
        "torch.set_num_threads(2)\n"
        "inside = threading.Barrier(3)\n"
        "def hang(_):\n"
        "    inside.wait(30)\n"
        "    threading.Event().wait()\n"
        "threading.Thread(target=each, args=[hang, range(2)], daemon=True).start()\n"
        "inside.wait(30)\n"
    )
    assert forked.run(code).returncode == 0
