"""Pieces side by side: the same answers, on as many threads as the caller's arithmetic may use."""

import threading

import pytest
import torch

from tsfm.nets.sideways import each


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
