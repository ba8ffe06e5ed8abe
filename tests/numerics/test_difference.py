"""The measure of parity tests and of `tsfm compare`."""

import numpy as np
import pytest

from tsfm.numerics import difference


def test_distances_are_in_deviations_of_the_observed_points():
    history = np.array([1.0, np.nan, 3.0, 5.0, 7.0])
    unit = difference.deviation(history)
    assert unit == pytest.approx(np.std([1, 3, 5, 7]))
    apart = difference.between(np.array([1.0, 2.0]), np.array([1.0, 4.0]), unit)
    np.testing.assert_allclose(apart, [0, 2 / unit])
    found = difference.summary([apart, np.zeros((2, 1))])
    assert (found.largest, found.mean) == (pytest.approx(2 / unit), pytest.approx(2 / unit / 4))


def test_a_constant_series_has_the_unit_one():
    assert difference.deviation(np.full(5, 3.0)) == 1.0


def test_a_number_that_is_none_is_never_near():
    apart = difference.between(np.array([1.0, np.nan]), np.array([1.0, 1.0]), 1.0)
    assert not difference.summary([apart]).largest <= 1e9


def test_answers_of_two_shapes_are_not_compared():
    with pytest.raises(ValueError, match="expected answers of one shape, got"):
        difference.between(np.zeros(3), np.zeros((3, 1)), 1.0)
