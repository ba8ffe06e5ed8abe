"""Categories as numbers, against Chronos-2's own preparation of its inputs."""

import numpy as np
import pytest

from tsfm.numerics.covariates import numbered, target_encoded

RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def from_list_of_dicts():
    from chronos.chronos2.preprocess import from_list_of_dicts  # seconds, for the process alone that runs this file

    return from_list_of_dicts


@pytest.mark.parametrize("gaps", [0, 5])
def test_categories_are_encoded_as_chronos_2_encodes_them(gaps, from_list_of_dicts):
    target = RNG.normal(20, 5, 60)
    target[:gaps] = np.nan
    past = RNG.choice(["a", "b", "c"], 60).tolist()
    future = ["c", "a", "never seen", "b"]
    (theirs,) = from_list_of_dicts(
        [{"target": target, "past_covariates": {"x": np.array(past)}, "future_covariates": {"x": np.array(future)}}], 4
    )
    ours = target_encoded(past, future, target)
    np.testing.assert_allclose(ours[0], theirs["context"][1], rtol=1e-6)
    np.testing.assert_allclose(ours[1], theirs["future_covariates"][1], rtol=1e-6)


def test_a_missing_category_is_one_of_its_own():
    target = np.array([1.0, 3.0, 10.0, 12.0])
    past, future = target_encoded(["a", "a", None, None], [None, "b"], target)
    mean = target.mean()
    np.testing.assert_allclose(past, [(4 + mean) / 3] * 2 + [(22 + mean) / 3] * 2)
    np.testing.assert_allclose(future, [(22 + mean) / 3, mean])


def test_beside_several_targets_categories_are_numbered_as_chronos_2_numbers_them(from_list_of_dicts):
    past = RNG.choice(np.array(["b", "a", None, "c"], object), 60)
    future = np.array(["c", "never seen", None, "a"], object)
    task = {"target": RNG.normal(size=(2, 60)), "past_covariates": {"x": past}, "future_covariates": {"x": future}}
    (theirs,) = from_list_of_dicts([task], 4)
    ours = numbered(past.tolist(), future.tolist())
    np.testing.assert_array_equal(ours[0], theirs["context"][2])
    np.testing.assert_array_equal(ours[1], theirs["future_covariates"][2])
