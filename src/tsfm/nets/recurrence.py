"""A linear recurrence with a decay of its own for each channel, for many series and steps at once.

Step by step it would take as many operations as there are steps. Here the steps are cut into about sqrt(T) blocks of
about sqrt(T) steps: all blocks advance together, then the end of each block is handed to the next one, then every
step gets what its block began with.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def padded(steps: int) -> int:
    """The number of steps, from ``steps`` up, that ``recur`` cuts into equal blocks."""
    return -(-steps // _block(steps)) * _block(steps)


def recur(values: Tensor, rates: Tensor) -> Tensor:
    """Replace ``values[:, t]`` by the sum of ``exp(rates * (t - s)) * values[:, s]`` over all s up to t, in place.

    Args:
        values: shape (B, T, C), complex, contiguous; T is a number that ``padded`` gives.
        rates: shape (B or 1, C), complex128, of negative real parts.

    Returns:
        ``values``.
    """
    rows, steps, channels = values.shape
    size = _block(steps)
    blocks = values.view(rows, steps // size, size, channels)
    passed = torch.arange(1, size + 1, device=rates.device)[:, None]
    powers = (rates[:, None] * passed).exp().to(values.dtype)  # (B or 1, size, C)
    for step in range(1, size):
        blocks[:, :, step].addcmul_(blocks[:, :, step - 1], powers[:, :1])
    ends = blocks[:, :, -1]
    for block in range(1, blocks.shape[1]):
        ends[:, block].addcmul_(ends[:, block - 1], powers[:, -1])
    blocks[:, 1:, :-1].addcmul_(powers[:, None, :-1], ends[:, :-1, None])
    return values


def _block(steps: int) -> int:
    return max(1, math.isqrt(steps - 1) + 1) if steps else 1
