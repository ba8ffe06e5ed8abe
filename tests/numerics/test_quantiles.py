"""Any level from the few that a model was trained on."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tsfm.numerics.quantiles import at_levels, forecasts

NINE = [i / 10 for i in range(1, 10)]
ROWS = arrays(float, (9, 3), elements=st.floats(-100, 100))
LEVEL = st.floats(0.001, 0.999)


def normal(level):
    return NormalDist(5, 2).inv_cdf(level)


@given(ROWS, st.lists(LEVEL, min_size=2, max_size=6))
def test_quantiles_rise_with_the_level(rows, levels):
    read = at_levels(NINE, rows, sorted(levels))
    assert (np.diff(read, axis=0) >= -1e-9).all()


@given(ROWS)
def test_trained_levels_are_read_as_they_are(rows):
    ordered = np.sort(rows, axis=0)
    np.testing.assert_array_equal(at_levels(NINE, rows, NINE), ordered)
    # 1 - 0.9 is not 0.1 in floating point.
    np.testing.assert_allclose(at_levels(NINE, rows, [(1 - 0.8) / 2, 1 - 0.9]), ordered[[0, 0]], atol=1e-9)


@given(ROWS, LEVEL, st.floats(0.01, 100), st.floats(-100, 100))
def test_a_change_of_unit_changes_nothing_else(rows, level, factor, offset):
    np.testing.assert_allclose(
        at_levels(NINE, rows * factor + offset, [level]), at_levels(NINE, rows, [level]) * factor + offset, atol=1e-6
    )


def test_between_levels_the_way_is_straight():
    rows = np.linspace(1, 9, 9)[:, None]
    np.testing.assert_allclose(at_levels(NINE, rows, [0.25, 0.5, 0.61]), [[2.5], [5], [6.1]])


@pytest.mark.parametrize("level", [0.005, 0.025, 0.05, 0.95, 0.975, 0.995])
def test_beyond_the_outermost_level_goes_the_tail_of_a_normal_distribution(level):
    rows = np.array([[normal(known)] for known in NINE])
    assert at_levels(NINE, rows, [level])[0, 0] == pytest.approx(normal(level))


def test_an_interval_goes_on_widening_and_keeps_its_skew():
    rows = np.array([-1.0, -0.8, -0.6, -0.3, 0, 1, 2, 3, 4])[:, None]
    low, lower, high, higher = at_levels(NINE, rows, [0.05, 0.005, 0.95, 0.995])[:, 0]
    assert lower < low < -1
    assert higher > high > 4
    assert higher == pytest.approx(-4 * lower)


def test_a_grid_that_is_not_even_is_read_by_its_own_levels():
    trained = [0.01, 0.05, 0.5, 0.95, 0.99]
    rows = np.array([normal(level) for level in trained])[:, None]
    read = at_levels(trained, rows, [0.03, 0.05, 0.005])[:, 0]
    assert read[0] == pytest.approx((rows[0, 0] + rows[1, 0]) / 2)
    assert read[1] == rows[1, 0]
    assert read[2] == pytest.approx(normal(0.005))


def test_a_batch_is_read_as_each_of_it_alone():
    batch = np.random.default_rng(0).normal(size=(4, 9, 7))
    levels = [0.9, 0.02, 0.33]
    for answer, rows in zip(forecasts(NINE, batch, levels), batch, strict=True):
        np.testing.assert_array_equal(answer.quantiles, at_levels(NINE, rows, levels))
        np.testing.assert_array_equal(answer.median, np.sort(rows, axis=0)[4])
    assert forecasts(NINE, batch, [])[0].quantiles.shape == (0, 7)
