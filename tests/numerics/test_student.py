"""Student's quantiles are scipy's, for any number of degrees of freedom and far into the tails."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from tsfm.numerics import student

TAILS = np.array([0.4999, 0.4, 0.25, 0.1, 0.05, 0.025, 0.005, 0.0005, 5e-7, 1e-12])


@pytest.mark.parametrize("freedom", [3, 3.3, 4, 5.5, 10, 31, 200, 5000.0])
def test_quantiles_are_exact(freedom):
    found = student.quantile(TAILS, norm.isf(TAILS), np.full(len(TAILS), float(freedom)))
    np.testing.assert_allclose(found, t.isf(TAILS, freedom), rtol=1e-5)


def test_many_degrees_of_freedom_are_the_normal():
    found = student.quantile(TAILS, norm.isf(TAILS), np.full(len(TAILS), 1e9))
    np.testing.assert_allclose(found, norm.isf(TAILS), rtol=1e-6)
