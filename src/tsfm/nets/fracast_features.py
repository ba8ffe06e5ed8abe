"""What Fracast computes of a series without any weights, as ``fracast._core.periodic`` does."""

from __future__ import annotations

import math

import torch
from torch import Tensor

RECENCY = 5  # channels that say how long ago a point was
PHASES = 16  # parts of a period, each with a mean of its own


def recency(time: Tensor, window: int) -> Tensor:
    """``official_encoding._recency_encoding`` for one row of positions: shape (n, RECENCY)."""
    delta = (time - float(window - 1)) / float(window)
    away = delta.abs()
    log = torch.sign(delta) * torch.log1p(away) / math.log(2.0)
    return torch.stack((delta, log, *(torch.exp(-rate * away) for rate in (0.5, 2.0, 8.0))), -1)


def phases(time: Tensor, periods: Tensor) -> Tensor:
    """``official_encoding._phase_encoding`` of one series: shape (W, 2 * PERIODS), zero for no period."""
    # In the official order of operations: at angles of thousands another order is another sine.
    angle = 2.0 * math.pi * time.unsqueeze(1) / periods.clamp(min=1).float()
    return (torch.stack((angle.sin(), angle.cos()), -1) * (periods > 0).unsqueeze(-1)).flatten(1)


def seasonal(values: Tensor, observed: Tensor, period: Tensor, horizon: int) -> Tensor:
    """``seasonal_fill.folded_seasonal_fill``: each future point's mean over its phase, shape (B, H)."""
    window = values.shape[1]
    time = torch.arange(window + horizon, device=values.device).float()
    primary = period.clamp(min=1).float()
    phase = ((time % primary) / primary * PHASES).clamp(max=PHASES - 1).long()
    past, future = phase[:, :window], phase[:, window:]
    weights = observed.float()
    counts = values.new_zeros(len(values), PHASES).scatter_add_(1, past, weights)
    totals = values.new_zeros(len(values), PHASES).scatter_add_(1, past, values * weights)
    overall = values.sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp(min=1.0)
    means = torch.where(counts > 0, totals / counts.clamp(min=1.0), overall)
    return means.gather(1, future)
