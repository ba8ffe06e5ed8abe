"""Features that Fracast computes from a series without any weights, as ``fracast._core.periodic`` does."""

from __future__ import annotations

import math

import torch
from torch import Tensor

RECENCY = 5  # channels that encode how long ago a point was
PHASES = 16  # parts of a period; each has its own mean
CHANCE = 0.05  # probability that noise alone shows a period


def recency(time: Tensor, window: int) -> Tensor:
    """``official_encoding._recency_encoding`` for one row of positions: shape (n, RECENCY)."""
    delta = (time - float(window - 1)) / float(window)
    away = delta.abs()
    log = torch.sign(delta) * torch.log1p(away) / math.log(2.0)
    return torch.stack((delta, log, *(torch.exp(-rate * away) for rate in (0.5, 2.0, 8.0))), -1)


def phases(time: Tensor, periods: Tensor) -> Tensor:
    """``official_encoding._phase_encoding``, zero where a period is 0: (B, PERIODS) to (B, W, 2 * PERIODS)."""
    periods = periods.unsqueeze(1)
    # Keep the official order of operations: at angles of thousands, another order gives another sine.
    angle = 2.0 * math.pi * time.unsqueeze(1) / periods.clamp(min=1).float()
    return (torch.stack((angle.sin(), angle.cos()), -1) * (periods > 0).unsqueeze(-1)).flatten(2)


def strongest_periods(values: Tensor, observed: Tensor, most: int) -> Tensor:
    """``seasonal_fill.detect_periods``: the strongest periods of each series in points, shape (B, most), 0 for none.

    A period from 2 points to half the window counts when the power spectrum has a peak there that is higher than
    white noise would show. The function of the fracast package is not imported, because it would import torch's
    compiler too.

    Args:
        values: shape (B, W).
        observed: shape (B, W), bool; unobserved points take the mean of the observed points.
    """
    window = values.shape[1]
    mean = torch.where(observed, values, 0.0).sum(1, keepdim=True) / observed.sum(1, keepdim=True).clamp(min=1)
    filled = torch.where(observed, values, mean)
    points = 1 << math.ceil(math.log2(max(2, window)))
    spectrum = torch.fft.rfft(filled - filled.mean(1, keepdim=True), n=points)
    power = (spectrum * spectrum.conj()).real[:, 1:]
    share = power / power.sum(1, keepdim=True).clamp(min=1e-12)
    bins = share.shape[1]
    peak = torch.zeros_like(share, dtype=torch.bool)
    peak[:, 1:-1] = (share[:, 1:-1] > share[:, :-2]) & (share[:, 1:-1] > share[:, 2:])
    peak[:, : max(0, points // max(2, window // 2) - 1)] = False
    peak &= share >= math.log(bins / CHANCE) / bins
    strength, at = torch.where(peak, share, -math.inf).topk(most, dim=1)
    return torch.where(strength > 0, torch.round(points / (at + 1).float()), 0.0).long()


def seasonal(values: Tensor, observed: Tensor, period: Tensor, horizon: int) -> Tensor:
    """``seasonal_fill.folded_seasonal_fill``: for each future point, the mean of its phase, shape (B, H)."""
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
