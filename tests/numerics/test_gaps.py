"""Which windows fill which gaps; no model and no torch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsfm.numerics.gaps import plan, runs

SIZE, PATCH = 512, 8


def missing(points, *gaps):
    holes = np.zeros(points, bool)
    for start, stop in gaps:
        holes[start:stop] = True
    return holes


def windows(points, *gaps):
    return plan(missing(points, *gaps), SIZE, PATCH)


def filled(window):
    return [(piece.start, piece.stop) for piece in window.pieces]


def test_gaps_are_found_with_their_ends():
    assert runs(missing(20, (0, 2), (5, 6), (18, 20))) == [(0, 2), (5, 6), (18, 20)]
    assert windows(600) == []


def test_a_series_within_one_window_is_filled_at_once():
    (only,) = windows(512, (0, 3), (100, 400), (511, 512))
    assert (only.start, only.stop) == (0, 512)
    assert filled(only) == [(0, 3), (100, 400), (511, 512)]


def test_a_gap_lies_in_the_middle_of_its_window():
    (only,) = windows(5000, (2000, 2100))
    assert filled(only) == [(2000, 2100)]
    assert 200 <= 2000 - only.start <= 220
    assert 200 <= only.stop - 2100 <= 220


def test_a_window_begins_on_the_patches_of_its_first_gap():
    for start in range(1000, 1016):
        (only,) = windows(5000, (start, start + 3))
        assert (start - only.start) % PATCH == 0


def test_gaps_that_lie_together_share_a_window_and_others_do_not():
    near, far = windows(5000, (1000, 1010), (1100, 1110), (1240, 1256), (1300, 1301))
    assert filled(near) == [(1000, 1010), (1100, 1110), (1240, 1256)]
    assert filled(far) == [(1300, 1301)]


@pytest.mark.parametrize("gap", [(0, 40), (960, 1000), (0, 256), (744, 1000)])
def test_at_an_end_of_the_series_the_window_is_moved_inwards(gap):
    (only,) = windows(1000, gap)
    assert only.start == 0 if gap[0] == 0 else only.stop > 1000 - PATCH
    assert filled(only) == [gap]


def test_a_long_gap_is_filled_from_both_ends_with_known_points_beside_it():
    first, last = windows(5000, (2000, 3000))
    assert filled(first) == [(2000, 2128)]
    assert filled(last) == [(2872, 3000)]
    assert (first.start, first.stop) == (1616, 2128)
    assert (last.start, last.stop) == (2872, 3384)


@pytest.mark.parametrize(("gap", "pieces"), [((0, 1000), [(872, 1000)]), ((4000, 5000), [(4000, 4128)])])
def test_a_long_gap_at_an_end_is_filled_from_its_known_side(gap, pieces):
    (only,) = windows(5000, gap)
    assert filled(only) == pieces


def test_an_end_of_a_long_gap_with_hardly_anything_beside_it_is_left_to_the_other_one():
    (only,) = windows(1026, (1, 513))
    assert filled(only) == [(385, 513)]
    (only,) = windows(2000, (900, 1990))
    assert filled(only) == [(900, 1028)]
    first, last = windows(1020, (5, 1015))
    assert filled(first) + filled(last) == [(5, 133), (887, 1015)]


@given(st.integers(513, 3000), st.lists(st.tuples(st.integers(0, 2999), st.integers(1, 700)), max_size=12))
def test_rounds_fill_everything_and_every_window_has_something_to_go_by(points, gaps):
    holes = missing(points, *[(start, start + length) for start, length in gaps])
    holes[points // 2] = False
    while (rounds := plan(holes, SIZE, PATCH)) or holes.any():
        assert rounds
        before = holes.copy()
        for window in rounds:
            assert 0 <= window.start < window.stop <= points
            assert window.stop - window.start == SIZE
            assert not before[window.start : window.stop].all()
            for start, stop in filled(window):
                assert window.start <= start < stop <= window.stop
                assert before[start:stop].all()
                holes[start:stop] = False
                # What is left of the gap lies on one side at most: known points touch the other.
                touches = [at for at in (start - 1, stop) if 0 <= at < points]
                assert not all(before[at] for at in touches)
