"""Converts series to Moirai's tokens: patches of 16 points of each variate. Each variate has its own scale.

Follows uni2ts 2.0.0 (``MoiraiMoEForecast._convert``, ``PackedStdScaler``, ``CausalMeanValueImputation``):
- The newest point ends a patch.
- Gaps count as unobserved. In a single target a gap takes the mean of all points before it. In one of several targets
  and in a covariate it takes 0 (``AddObservedValuesIndicator``), which is the mean of the past as it arrives here.
- A known covariate also has tokens after the context. A past covariate has none there, so no value is invented.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tsfm.nets.devices import moved
from tsfm.nets.moirai_encoder import Ids
from tsfm.series import FloatArray, Group, Series

PATCH = 16
LEAST_SCALE = 1e-5  # added to the variance, as uni2ts does


@dataclass(frozen=True)
class Patches:
    """B groups of V variates (targets, known covariates, past covariates) as T patches, with P patches to forecast.

    Attributes:
        targets: number of targets.
        values: (B, V, T, 16) in the input's unit, 0 in the padding.
        observed: (B, V, T, 16), True at observed points.
        future: (B, known, P, 16) the known covariates after the context.
        future_observed: (B, known, P, 16), True at observed points.
        times: (B, T) number of the patch, counted from the first patch with an observed point.
        valid: (B, T) False for patches that are padding only.
        loc, scale: (B, V), computed over the context and, for known covariates, also over the horizon.
    """

    targets: int
    values: Tensor
    observed: Tensor
    future: Tensor
    future_observed: Tensor
    times: Tensor
    valid: Tensor
    loc: Tensor
    scale: Tensor

    def __getitem__(self, rows: slice) -> Patches:
        """A slice of the groups."""
        return replace(self, **{f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "targets"})

    @property
    def ahead(self) -> int:
        """Number of variates that have tokens after the context: targets and known covariates."""
        return self.targets + self.future.shape[1]

    def newest(self, more: int = 0) -> list[int]:
        """The number of the newest token of each target, with ``more`` patches after the context."""
        count = self.valid.shape[1]
        start, length = (self.values.shape[1] * count, more) if more else (0, count)
        return [start + length * (target + 1) - 1 for target in range(self.targets)]

    def scaled(self) -> Tensor:
        """Scaled ``values``, (B, V, T, 16)."""
        return (self.values - self.loc[..., None, None]) / self.scale[..., None, None]

    def scaled_future(self) -> Tensor:
        """Scaled ``future``, (B, known, P, 16)."""
        known = slice(self.targets, self.ahead)
        return (self.future - self.loc[:, known, None, None]) / self.scale[:, known, None, None]

    def ids(self, more: int = 0, samples: int = 1) -> Ids:
        """Ids of (B * samples) rows: the context's tokens, variate by variate, then the tokens that ``behind`` adds."""
        variates, known = self.values.shape[1], self.ahead
        device = self.times.device
        ahead = self.times[:, -1:] + 1 + torch.arange(more, device=device)
        numbers = torch.arange(variates, device=device).repeat_interleave(self.times.shape[1])
        times = torch.cat([self.times.repeat(1, variates), ahead.repeat(1, known)], 1)
        real = torch.ones_like(ahead, dtype=torch.bool).repeat(1, known)
        valid = torch.cat([self.valid.repeat(1, variates), real], 1)
        new = torch.arange(known, device=device).repeat_interleave(more)
        rows = (t.repeat_interleave(samples, 0) for t in (times, valid))
        return Ids(next(rows), torch.cat([numbers, new]), next(rows), variates > 1)

    def behind(self, paths: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        """Scaled tokens of the context and the paths, (B, S, N, 16).

        Args:
            paths: (B, S, targets, points), whole patches of the targets in the input's unit.
            loc, scale: (B, S, targets) loc and scale of each target, one for each path.
        """
        shape = (*paths.shape[:2], -1, PATCH)
        more = paths.shape[-1] // PATCH
        context = self.values[:, : self.targets].flatten(2)[:, None].expand(-1, paths.shape[1], -1, -1)
        targets = [((t - loc[..., None]) / scale[..., None]).reshape(shape) for t in (context, paths)]
        fixed = [self.scaled()[:, self.targets :], self.scaled_future()[:, :, :more]]
        others = [t.flatten(1, 2)[:, None].expand(-1, paths.shape[1], -1, -1) for t in fixed]
        return torch.cat([targets[0], others[0], targets[1], others[1]], 2)

    def observed_behind(self, paths: int, more: int) -> Tensor:
        """Which points of the tokens from ``behind`` are observed, known or forecast, (B, paths, N, 16), 1 or 0.

        Args:
            paths: number of paths.
            more: number of patches after the context.
        """
        target = self.observed.new_ones(len(self.observed), self.targets * more, PATCH)
        known = self.future_observed[:, :, :more].flatten(1, 2)
        observed = torch.cat([self.observed.flatten(1, 2), target, known], 1)
        return observed[:, None].expand(-1, paths, -1, -1).float()

    def rescale(self, paths: Tensor) -> tuple[Tensor, Tensor]:
        """Loc and scale of the targets, each (B, S, targets), where the points of ``paths`` count as observed.

        Args:
            paths: (B, S, targets, points).
        """
        past = self.values[:, : self.targets].flatten(2).double()
        mask = self.observed[:, : self.targets].flatten(2)
        count = mask.sum(-1)[:, None] + paths.shape[-1]
        more = paths.double()
        loc = ((past * mask).sum(-1)[:, None] + more.sum(-1)) / count
        squares = ((past[:, None] - loc[..., None]) ** 2 * mask[:, None]).sum(-1)
        squares = squares + ((more - loc[..., None]) ** 2).sum(-1)
        return loc.float(), (squares / (count - 1).clamp_min(1) + LEAST_SCALE).sqrt().float()


def patches(batch: Sequence[Series], horizon: int, device: str) -> Patches:
    """Convert series of one schema, each with a single target."""
    return group_patches([Group((series,)) for series in batch], horizon, device)


def group_patches(batch: Sequence[Group], horizon: int, device: str) -> Patches:
    """Convert groups of one schema, whose first member has the covariates.

    Shorter ones are padded on the left, and no token attends to the padding.
    """
    firsts, targets = [group.members[0] for group in batch], len(batch[0].members)
    count, more = -(-max(map(len, firsts)) // PATCH), -(-horizon // PATCH)
    past, known = firsts[0].schema
    values = np.zeros((len(batch), targets + past + known, count * PATCH), np.float32)
    observed = np.zeros(values.shape, bool)
    future = np.zeros((len(batch), known, more * PATCH), np.float32)
    future_observed = np.zeros(future.shape, bool)
    moments = np.zeros((2, *values.shape[:2]))
    for i, (group, first) in enumerate(zip(batch, firsts, strict=True)):
        n = len(first)
        rows = [*(member.target for member in group.members), *first.future_covariates, *first.past_covariates]
        for j, row in enumerate(np.asarray(row, np.float64) for row in rows):
            mask = ~np.isnan(row)
            whole = _causal_mean(row, mask) if targets == 1 and not j else np.nan_to_num(row)
            values[i, j, -n:], observed[i, j, -n:] = whole[:n], mask[:n]
            if 0 <= (at := j - targets) < known:
                future[i, at, :horizon], future_observed[i, at, :horizon] = whole[n:], mask[n:]
            moments[:, i, j] = _moments(row[mask])
    shape = (*values.shape[:2], count, PATCH)
    numbers, valid = _numbers(firsts, observed[:, :targets].any(1).reshape(len(batch), count, PATCH))
    behind = (len(batch), known, more, PATCH)
    arrays = (values.reshape(shape), observed.reshape(shape), future.reshape(behind), future_observed.reshape(behind))
    return Patches(
        targets,
        *(moved(a, device) for a in (*arrays, numbers, valid)),
        *moved(moments.astype(np.float32), device),
    )


def _numbers(batch: Sequence[Series], observed: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The number of each patch, and whether the patch is real (not padding), both (B, T)."""
    started = np.logical_or.accumulate(observed.any(-1), axis=1)
    padding = [observed.shape[1] - -(-len(series) // PATCH) for series in batch]
    valid = np.arange(observed.shape[1]) >= np.array(padding)[:, None]
    return np.maximum(np.cumsum(started, axis=1) - 1, 0), valid


def _moments(observed: FloatArray) -> tuple[float, float]:
    if not len(observed):
        return 0.0, LEAST_SCALE**0.5
    mean = float(observed.mean())
    variance = float(((observed - mean) ** 2).sum()) / max(1, len(observed) - 1)
    return mean, (variance + LEAST_SCALE) ** 0.5


def _causal_mean(values: FloatArray, observed: NDArray[np.bool_]) -> FloatArray:
    """Fill each gap with the mean of all points before it.

    In this mean, an earlier gap counts as the last value before it. Leading gaps take the first value.
    """
    if observed.all() or not observed.any():
        return np.nan_to_num(values)
    last = np.maximum.accumulate(np.where(observed, np.arange(len(values)), -1))
    filled = values[np.where(last < 0, int(np.argmax(observed)), last)]
    before = np.concatenate([filled[:1], np.cumsum(filled)[:-1] / np.arange(1, len(filled))])
    return np.where(observed, values, before)
