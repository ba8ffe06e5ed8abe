"""Centre and scale: any unit in, the same shape for the model, the unit back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tsfm.errors import ModelFailed
from tsfm.numerics import scaling
from tsfm.series import Capabilities, Forecast, Series

ANY = st.floats(allow_nan=False, allow_infinity=False)
SHAPE = np.array([0.0, 1.0, 4.0, 2.0, 3.0, 7.0, 5.0, 6.0])
LEVELS = [0.1, 0.9]


class Echo:
    """Answers with the newest points, and an interval around them, as a model of unit spread would."""

    max_context = 8
    min_context = 1
    min_room = 1
    batch_points = 64
    capabilities = Capabilities(native_quantiles=True)
    path = "float32"

    def context_for(self, horizon, schema):
        return self.max_context

    def __init__(self):
        self.seen = []

    def forecast(self, batch, horizon, levels):
        self.seen += batch
        answers = [series.target[-horizon:] for series in batch]
        return [Forecast(a, np.stack([a + (level - 0.5) for level in levels])) for a in answers]


def standard(values, fill_gaps=True):
    prepared, scale = scaling.standardise(Series(np.asarray(values, float)), fill_gaps, 1000)
    return prepared.target, scale


@given(arrays(float, st.integers(2, 30), elements=ANY))
def test_any_finite_numbers_become_mean_zero_and_spread_one(values):
    unit, scale = standard(values)
    assert unit.dtype == np.float32
    assert np.isfinite(unit).all()
    assert np.isfinite([scale.centre, scale.spread]).all()
    if values.min() < values.max():
        assert abs(unit.mean(dtype=float)) < 1e-5
        assert unit.std(dtype=float) == pytest.approx(1, abs=1e-4)
    else:
        assert scale.spread == 0
        assert scale.centre == values[0]


@given(arrays(float, st.integers(2, 30), elements=ANY))
def test_what_was_scaled_comes_back(values):
    unit, scale = standard(values)
    if scale.spread:
        assert np.allclose(scale.restore(unit), values, rtol=0, atol=scale.spread * 1e-5 + 1e-300)


@pytest.mark.parametrize(
    ("factor", "offset"), [(-1, 0), (1e-300, 0), (1e-12, 0), (1e300, 0), (1, 1e9), (-3, 1e9), (1, -1.7e15)]
)
def test_a_model_sees_one_shape_whatever_its_unit(factor, offset):
    unit, _ = standard(SHAPE * factor + offset)
    np.testing.assert_allclose(unit * np.sign(factor), standard(SHAPE)[0], rtol=0, atol=1e-6)


def test_whole_numbers_beyond_two_to_the_53_keep_what_a_float_keeps_of_them():
    values = [2**60 + 1024 * int(step) for step in SHAPE]
    unit, scale = standard(np.array(values))
    np.testing.assert_allclose(unit, standard(SHAPE)[0], atol=1e-6)
    np.testing.assert_allclose(scale.restore(unit), values, rtol=1e-15)


def test_the_widest_numbers_that_there_are_do_not_overflow():
    largest = float(np.finfo(float).max)
    unit, scale = standard([-largest, largest, -largest, largest])
    np.testing.assert_allclose(unit, [-1, 1, -1, 1])
    assert scale.restore(np.array([1000.0]))[0] == largest
    assert scale.restore(np.array([-1000.0]))[0] == -largest


def test_gaps_are_filled_along_a_line_and_the_ends_are_held():
    filled = scaling.fill(np.array([np.nan, 1, np.nan, np.nan, 4, np.nan]))
    np.testing.assert_allclose(filled, [1, 1, 2, 3, 4, 4])
    nothing = np.array([np.nan, np.nan])
    assert np.isnan(scaling.fill(nothing)).all()


def test_what_is_interpolated_is_marked_so_that_nobody_takes_it_for_observed():
    prepared, _ = scaling.standardise(Series(np.array([9.0, 1, np.nan, np.nan, 4, 2])), True, 5)
    assert prepared.filled.tolist() == [False, True, True, False, False]
    assert prepared.newest(3).filled.tolist() == [True, False, False]
    assert scaling.standardise(Series(SHAPE), True, 5)[0].filled is None


def test_a_model_that_takes_gaps_gets_them():
    unit, scale = standard([1, np.nan, 3], fill_gaps=False)
    assert np.isnan(unit[1])
    np.testing.assert_allclose(unit[[0, 2]], [-1, 1])
    assert (scale.centre, scale.spread) == (2, 1)


def beside(row, points=8):
    prepared, _ = scaling.standardise(Series(SHAPE[:points], future_covariates=np.array([row], float)), False)
    (unit,) = prepared.future_covariates
    assert unit.dtype == np.float32
    return unit


def test_covariates_are_scaled_each_by_its_own_past_and_keep_their_gaps():
    past = np.stack([SHAPE * 1e6, np.full(8, np.nan)])
    prepared, _ = scaling.standardise(Series(SHAPE, past, np.array([[*SHAPE, np.nan, 100.0]])), False)
    np.testing.assert_allclose(prepared.past_covariates[0], standard(SHAPE)[0], atol=1e-6)
    assert np.isnan(prepared.past_covariates[1]).all()
    np.testing.assert_allclose(prepared.future_covariates[0][:8], standard(SHAPE)[0], atol=1e-6)
    assert np.isnan(prepared.future_covariates[0][8])
    assert prepared.future_covariates[0][9] == pytest.approx((100 - SHAPE.mean()) / SHAPE.std())


@pytest.mark.parametrize("ahead", [-3.0, 0.5, 1e6, np.nan])
def test_what_is_known_ahead_does_not_move_the_past(ahead):
    np.testing.assert_array_equal(beside([*SHAPE, ahead])[:8], beside([*SHAPE, 0.0])[:8])


def test_a_covariate_that_never_changed_keeps_its_unit_so_that_a_first_holiday_shows():
    np.testing.assert_array_equal(beside([0.0] * 8 + [1, 0, 1]), [0] * 8 + [1, 0, 1])
    np.testing.assert_array_equal(beside([5.0, np.nan] + [5] * 6 + [7, 5]), [0, np.nan] + [0] * 6 + [2, 0])
    np.testing.assert_array_equal(beside([np.nan] * 8 + [3.0, 4.0]), [np.nan] * 8 + [3, 4])


@pytest.mark.parametrize("ahead", [1e308, -1e308, float(np.finfo(float).max)])
@pytest.mark.parametrize(
    "past", [np.zeros(8), np.arange(8.0), np.arange(8) * 1e-300, np.arange(8) * 1e307, SHAPE * 0 - 1e308]
)
def test_covariates_of_any_size_stay_within_float32(past, ahead):
    unit = beside([*past, ahead])
    assert np.isfinite(unit).all()
    assert np.isfinite(unit / np.float32(1e-5)).all()  # as Chronos-2 divides where the past never changed


GAP = [np.nan] * 3


def test_a_gap_at_the_start_makes_a_series_shorter():
    future = np.arange(13.0)[None]
    series = Series(np.array(GAP + list(SHAPE)), np.arange(11.0)[None], future)
    fit = scaling.fitted(series, Echo(), 2)
    np.testing.assert_array_equal(fit.series.target, SHAPE)
    assert fit.series.past_covariates[0][0] == 3
    assert fit.series.future_covariates.shape == (1, 10)
    assert fit.lead == 2
    one, other = scaling.forecast(Echo(), [series, Series(SHAPE)], 2, LEVELS)
    np.testing.assert_array_equal(one.quantiles, other.quantiles)


def test_a_gap_where_the_context_is_cut_makes_it_shorter_too():
    fit = scaling.fitted(Series(np.array([5.0, *GAP, *SHAPE[:7]])), Echo(), 2)  # the 8 newest begin in the gap
    np.testing.assert_array_equal(fit.series.target, SHAPE[:7])


def test_a_gap_at_the_end_is_a_part_of_the_horizon():
    model, future = Echo(), np.arange(13.0)[None]
    series = Series(np.array(list(SHAPE) + GAP), np.arange(11.0)[None], future)
    fit = scaling.fitted(series, model, 2)
    assert fit.lead == 5
    np.testing.assert_array_equal(fit.series.target, SHAPE)
    np.testing.assert_array_equal(fit.series.past_covariates, np.arange(8.0)[None])
    np.testing.assert_array_equal(fit.series.future_covariates, future)  # what is known over the gap, and beyond it
    (answer,) = scaling.forecast(model, [series], 2, LEVELS)
    (longer,) = scaling.forecast(model, [Series(SHAPE)], 5, LEVELS)
    np.testing.assert_array_equal(answer.median, longer.median[3:])
    np.testing.assert_array_equal(answer.quantiles, longer.quantiles[:, 3:])
    assert answer.median.shape == (2,)


class Masks(Echo):
    capabilities = Capabilities(native_quantiles=True, missing_values=True)


def test_a_model_that_masks_gets_the_gap_at_the_end_as_it_is():
    fit = scaling.fitted(Series(np.array([*GAP, 5.0, *GAP, *SHAPE[:2], *GAP])), Masks(), 2)
    assert fit.lead == 2
    np.testing.assert_array_equal(fit.series.target, [*SHAPE[:2], *GAP])  # of the newest 8 the first are a gap


def test_a_constant_series_with_gaps_at_both_ends_is_answered_with_its_constant():
    (answer,) = scaling.forecast(Echo(), [Series(np.array(GAP + [4.0] * 4 + GAP))], 6, LEVELS)
    assert (answer.median == 4).all()
    assert answer.quantiles.shape == (2, 6)


def test_nothing_is_forecast_from_nothing():
    for family, gap in ((Masks(), 9), (Masks(), 8)):
        with pytest.raises(ValueError, match="expected an observed point"):
            scaling.forecast(family, [Series(np.array([*SHAPE, *[np.nan] * gap]))], 2, LEVELS)
    scaling.forecast(Masks(), [Series(np.array([*SHAPE, *[np.nan] * 7]))], 1, LEVELS)


def test_a_batch_of_different_leads_keeps_its_order():
    batch = [Series(SHAPE), Series(np.array(list(SHAPE) + GAP)), Series(-SHAPE), Series(np.full(9, 2.0))]
    for series, answer in zip(batch, scaling.forecast(Echo(), batch, 3, LEVELS), strict=True):
        (alone,) = scaling.forecast(Echo(), [series], 3, LEVELS)
        np.testing.assert_array_equal(answer.quantiles, alone.quantiles)


def test_only_the_newest_points_count():
    series = Series(np.append(np.full(100, 1e9), SHAPE), np.arange(108.0)[None], np.arange(110.0)[None])
    prepared, scale = scaling.standardise(series, False, 8)
    np.testing.assert_allclose(prepared.target, standard(SHAPE)[0])
    assert prepared.past_covariates.shape == (1, 8)
    assert prepared.future_covariates.shape == (1, 10)
    assert scale.centre == SHAPE.mean()


def test_a_batch_keeps_its_order_around_series_that_never_move():
    model = Echo()
    batch = [Series(np.full(9, 7.0)), Series(SHAPE), Series(np.full(3, -2.5e-308)), Series(SHAPE * -1e6)]
    answers = scaling.forecast(model, batch, 2, LEVELS)
    assert len(model.seen) == 2
    assert (answers[0].median == 7).all()
    assert (answers[0].quantiles == 7).all()
    assert (answers[2].median == -2.5e-308).all()
    np.testing.assert_allclose(answers[1].median, SHAPE[-2:], atol=1e-5)
    np.testing.assert_allclose(answers[3].median, SHAPE[-2:] * -1e6, rtol=1e-5)


@given(
    arrays(float, (3, 4), elements=st.floats(-5, 5)),
    arrays(float, 4, elements=st.floats(-5, 5)),
    st.permutations(range(3)),
)
def test_quantiles_cross_neither_one_another_nor_the_median(rows, median, order):
    levels = [[0.1, 0.4, 0.9][i] for i in order]
    answer = scaling.restore(Forecast(median, rows), scaling.Scale(3.0, 2.0), levels)
    low, middle, high = (answer.quantiles[levels.index(level)] for level in (0.1, 0.4, 0.9))
    assert (low <= middle).all()
    assert (middle <= answer.median).all()
    assert (answer.median <= high).all()
    np.testing.assert_array_equal(answer.median, 3 + 2 * median)


@given(arrays(float, 4, elements=st.floats(-5, 5)), arrays(float, (2, 4), elements=st.floats(-5, 5)))
def test_an_interval_of_nothing_is_the_median(median, rows):
    answer = scaling.restore(Forecast(median, rows), scaling.Scale(3.0, 2.0), [0.5, 0.5])
    np.testing.assert_array_equal(answer.quantiles, [answer.median] * 2)


@given(st.integers(-1000, 1000), st.floats(0.5, 0.95), st.integers(0, 2**32))
def test_bounds_that_a_float32_model_puts_on_a_value_of_the_series_hold_it(level, zeros, seed):
    draw = np.random.default_rng(seed)
    counts = np.where(draw.random(200) < zeros, 0, draw.poisson(3, 200)) + level
    if counts.min() == counts.max():
        return
    unit, scale = standard(counts)
    row = unit[unit == unit.min()][:1]  # as a model that repeats the most frequent value
    answer = scaling.restore(Forecast(row, np.stack([row, row])), scale, [0.1, 0.9])
    assert answer.quantiles[0, 0] <= counts.min() <= answer.quantiles[1, 0]
    above = scaling.restore(Forecast(row + 5, np.stack([row, row + 9])), scale, [0.1, 0.9])
    assert above.quantiles[0, 0] <= counts.min()  # the lower bound alone lies on it
    assert answer.quantiles[1, 0] - answer.quantiles[0, 0] < 1e-5 * scale.spread + 1e-9


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_no_number_never_leaves(bad):
    good = np.zeros(2)
    for median, rows in ((np.array([0, bad]), good[None]), (good, np.array([[bad, 0]]))):
        with pytest.raises(ModelFailed, match="not numbers"):
            scaling.restore(Forecast(median, rows), scaling.Scale(0.0, 1.0), [0.9])
    with pytest.raises(ModelFailed, match="not numbers"):
        scaling.completed(np.array([0, bad]), scaling.Scale(0.0, 1.0))
