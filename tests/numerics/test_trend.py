"""Strong trends and the bands that grow with the horizon; tests/families compare both with the package of TiRex-2."""

import numpy as np
import pytest

from tsfm.numerics import trend

DRAW = np.random.default_rng(3)


def fitted(values):
    """Slope over the whole length in deviations, and the explained part, by NumPy's own least squares."""
    at = np.flatnonzero(~np.isnan(values))
    observed = values[at]
    unit = (observed - observed.mean()) / observed.std(ddof=1)
    line = np.polyfit(at, unit, 1)
    rest = unit - np.polyval(line, at)
    return abs(line[0]) * len(values), 1 - rest @ rest / (unit @ unit)


@pytest.mark.parametrize("gap", [0, 20])
@pytest.mark.parametrize("noise", [0.01, 0.1, 0.2, 0.25, 0.3, 0.35, 1.0])
@pytest.mark.parametrize("slope", [1, -1])
def test_a_strong_trend_is_one_that_a_straight_line_explains(slope, noise, gap):
    values = slope * np.linspace(0, 2, 100) + noise * DRAW.normal(size=100)
    values[30 : 30 + gap] = np.nan
    rise, explained = fitted(values)
    assert trend.is_strong(values) == (rise >= trend.DEVIATIONS and explained >= trend.EXPLAINED)
    assert trend.is_strong(values) == trend.is_strong(1e6 * values - 5)


def test_few_points_and_a_constant_have_none():
    assert trend.is_strong(np.arange(4.0))
    assert not trend.is_strong(np.arange(3.0))
    assert not trend.is_strong(np.array([0, np.nan, 1, np.nan, 2]))
    assert not trend.is_strong(np.ones(50))


def test_differences_begin_with_zero_and_are_missing_beside_a_gap():
    np.testing.assert_array_equal(trend.differences(np.array([3.0, 4, 6, np.nan, 7, 9])), [0, 1, 2, np.nan, np.nan, 2])


def test_sums_of_steps_add_up_and_their_band_grows_as_that_of_independent_steps():
    steps = np.array([[1.0] * 9, [2.0] * 9, [3.5] * 9])
    low, median, high = trend.summed(steps, 10)
    np.testing.assert_allclose(median, 10 + 2 * np.arange(1, 10))
    width = trend.SUM_BAND * np.sqrt(np.arange(1, 10)) * np.arange(1, 10) ** trend.SUM_GROWTH
    np.testing.assert_allclose(low, median - width)
    np.testing.assert_allclose(high, median + 1.5 * width)


def test_bands_are_calibrated_around_the_median():
    low, median, high = trend.calibrated(np.array([[1.0, 1], [2, 2], [4, 4]]))
    np.testing.assert_array_equal(median, [2, 2])
    np.testing.assert_allclose(median - low, trend.BAND * np.array([1, 2**trend.GROWTH]))
    np.testing.assert_allclose(high - median, 2 * (median - low))
