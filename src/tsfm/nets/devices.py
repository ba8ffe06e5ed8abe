"""What a network does in another way on a GPU."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GPU_PORTIONS = 16


def portion(size: int, device: str | torch.device) -> int:
    """How much one pass takes at most: ``size``, chosen for a CPU's caches, and many times as much on a GPU."""
    return GPU_PORTIONS * size if is_gpu(device) else size


def moved(values: NDArray[np.generic] | Tensor, device: str | torch.device) -> Tensor:
    """``values`` on the device. To a GPU they go through pinned memory, and the host does not wait for the copy.

    On an H200 a batch of 4 MiB, copied to pinned memory and sent, took half the time of a plain copy (0.23 against 0.49
    ms), and one of 256 KiB the same time.
    """
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(values)
    if is_gpu(tensor.device) or not is_gpu(device):
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def is_gpu(device: str | torch.device) -> bool:
    return torch.device(device).type != "cpu"
