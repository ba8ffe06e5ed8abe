"""The blocked recurrence against the step by step one, for numbers of steps around its blocks."""

import pytest
import torch

from tsfm.nets.recurrence import padded, recur


@pytest.mark.parametrize("wanted", [1, 2, 3, 4, 5, 16, 17, 100, 577])
def test_every_step_is_the_decayed_sum_of_the_steps_up_to_it(wanted):
    steps = padded(wanted)
    assert wanted <= steps <= wanted + wanted**0.5 + 1
    draw = torch.Generator().manual_seed(wanted)
    rates = torch.complex(-torch.rand(2, 3, generator=draw), 3 * torch.randn(2, 3, generator=draw)).to(torch.complex128)
    values = torch.view_as_complex(torch.randn(2, steps, 3, 2, generator=draw))
    expected = torch.empty(values.shape, dtype=torch.complex128)
    state = torch.zeros(2, 3, dtype=torch.complex128)
    for step in range(steps):
        state = state * rates.exp() + values[:, step]
        expected[:, step] = state
    found = recur(values, rates)
    assert found is values
    torch.testing.assert_close(found.to(torch.complex128), expected, rtol=1e-5, atol=1e-5)


def test_one_rate_for_all_series_gives_what_a_row_of_rates_gives():
    values = torch.view_as_complex(torch.randn(3, padded(50), 4, 2))
    rates = torch.complex(-torch.rand(1, 4), torch.randn(1, 4)).to(torch.complex128)
    torch.testing.assert_close(recur(values.clone(), rates), recur(values.clone(), rates.expand(3, 4)))
