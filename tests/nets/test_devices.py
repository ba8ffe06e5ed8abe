"""What a network does in another way on a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsfm.nets.devices import is_gpu, moved, portion

GPUS = ["cuda", "cuda:1", torch.device("cuda", 0)]


@pytest.mark.parametrize("device", GPUS)
def test_a_gpu_takes_larger_portions(device):
    assert portion(100, "cpu") == portion(100, torch.device("cpu")) == 100
    assert portion(100, device) >= 800


@pytest.mark.parametrize("device", GPUS)
def test_what_a_gpu_is(device):
    assert is_gpu(device)
    assert not is_gpu("cpu")


def test_nothing_is_copied_where_the_model_runs_on_the_cpu():
    values = np.arange(6.0).reshape(2, 3)
    made = moved(values, "cpu")
    assert np.shares_memory(made.numpy(), values)
    assert moved(made, torch.device("cpu")) is made
