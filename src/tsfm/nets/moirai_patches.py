"""Series as Moirai's tokens: patches of 16 points of every variate, with a scale of its own for each.

Follows uni2ts 2.0.0 (``MoiraiMoEForecast._convert``, ``PackedStdScaler``, ``CausalMeanValueImputation``):
the newest point ends a patch; gaps count as unobserved and hold the mean of all before them in the
target, 0 in a covariate (``AddObservedValuesIndicator``), which is the mean of its past as it comes here; a
known covariate has tokens behind the context as well, a past one has none there, so nothing is invented.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tsfm.nets.moirai_encoder import Ids
from tsfm.series import FloatArray, Series

PATCH = 16
LEAST_SCALE = 1e-5  # added to the variance, as in uni2ts


@dataclass(frozen=True)
class Patches:
    """B series of V variates (target, known covariates, past ones) as T patches, P more to come.

    Attributes:
        values: (B, V, T, 16) in the unit given, 0 where padded.
        observed: (B, V, T, 16).
        future: (B, known, P, 16) the known covariates behind the context.
        future_observed: (B, known, P, 16).
        times: (B, T) number of the patch, from the first one that holds anything observed.
        valid: (B, T) False for whole patches of padding.
        loc, scale: (B, V), over context and, for known covariates, horizon.
    """

    values: Tensor
    observed: Tensor
    future: Tensor
    future_observed: Tensor
    times: Tensor
    valid: Tensor
    loc: Tensor
    scale: Tensor

    def __getitem__(self, rows: slice) -> Patches:
        """Some of the series."""
        return Patches(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def scaled(self) -> Tensor:
        """(B, V, T, 16)."""
        return (self.values - self.loc[..., None, None]) / self.scale[..., None, None]

    def scaled_future(self) -> Tensor:
        """(B, known, P, 16)."""
        known = slice(1, 1 + self.future.shape[1])
        return (self.future - self.loc[:, known, None, None]) / self.scale[:, known, None, None]

    def ids(self, more: int = 0, samples: int = 1) -> Ids:
        """Of (B * samples) rows: the context's tokens variate after variate, then those of ``behind``."""
        variates, known = self.values.shape[1], 1 + self.future.shape[1]
        device = self.times.device
        ahead = self.times[:, -1:] + 1 + torch.arange(more, device=device)
        numbers = torch.arange(variates, device=device).repeat_interleave(self.times.shape[1])
        times = torch.cat([self.times.repeat(1, variates), ahead.repeat(1, known)], 1)
        real = torch.ones_like(ahead, dtype=torch.bool).repeat(1, known)
        valid = torch.cat([self.valid.repeat(1, variates), real], 1)
        new = torch.arange(known, device=device).repeat_interleave(more)
        rows = (t.repeat_interleave(samples, 0) for t in (times, valid))
        return Ids(next(rows), torch.cat([numbers, new]), next(rows))

    def behind(self, paths: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        """Scaled tokens of context and paths, (B, S, N, 16).

        Args:
            paths: (B, S, points), whole patches of the target in the unit given.
            loc, scale: (B, S) the target's, one for each path.
        """
        shape = (*paths.shape[:2], -1, PATCH)
        more = paths.shape[-1] // PATCH
        context = self.values[:, 0].flatten(1)[:, None].expand(-1, paths.shape[1], -1)
        target = [(t - loc[..., None]) / scale[..., None] for t in (context, paths)]
        fixed = [self.scaled()[:, 1:], self.scaled_future()[:, :, :more]]
        others = [t.flatten(1, 2)[:, None].expand(-1, paths.shape[1], -1, -1) for t in fixed]
        return torch.cat([target[0].reshape(shape), others[0], target[1].reshape(shape), others[1]], 2)

    def observed_behind(self, paths: int, more: int) -> Tensor:
        """1 where the tokens of ``behind`` for ``more`` patches hold something known or forecast, (B, paths, N, 16)."""
        target = self.observed.new_ones(len(self.observed), more, PATCH)
        known = self.future_observed[:, :, :more].flatten(1, 2)
        observed = torch.cat([self.observed.flatten(1, 2), target, known], 1)
        return observed[:, None].expand(-1, paths, -1, -1).float()

    def rescale(self, paths: Tensor) -> tuple[Tensor, Tensor]:
        """The target's loc and scale with ``paths`` (B, S, points) counted as observed, each (B, S)."""
        past = self.values[:, 0].flatten(1).double()
        seen = self.observed[:, 0].flatten(1)
        count = seen.sum(1, keepdim=True) + paths.shape[-1]
        more = paths.double()
        loc = ((past * seen).sum(1, keepdim=True) + more.sum(-1)) / count
        squares = ((past[:, None] - loc[..., None]) ** 2 * seen[:, None]).sum(-1)
        squares = squares + ((more - loc[..., None]) ** 2).sum(-1)
        return loc.float(), (squares / (count - 1).clamp_min(1) + LEAST_SCALE).sqrt().float()


def patches(batch: Sequence[Series], horizon: int, device: str) -> Patches:
    """All series of one schema; shorter ones are padded on the left by what nothing looks at."""
    count, more = -(-max(map(len, batch)) // PATCH), -(-horizon // PATCH)
    past, known = batch[0].schema
    values = np.zeros((len(batch), 1 + past + known, count * PATCH), np.float32)
    observed = np.zeros(values.shape, bool)
    future = np.zeros((len(batch), known, more * PATCH), np.float32)
    future_observed = np.zeros(future.shape, bool)
    moments = np.zeros((2, len(batch), 1 + past + known))
    for i, series in enumerate(batch):
        n = len(series)
        rows = [series.target, *series.future_covariates, *series.past_covariates]
        for j, row in enumerate(np.asarray(row, np.float64) for row in rows):
            seen = ~np.isnan(row)
            whole = np.nan_to_num(row) if j else _causal_mean(row, seen)
            values[i, j, -n:], observed[i, j, -n:] = whole[:n], seen[:n]
            if 1 <= j <= known:
                future[i, j - 1, :horizon], future_observed[i, j - 1, :horizon] = whole[n:], seen[n:]
            moments[:, i, j] = _moments(row[seen])
    shape = (*values.shape[:2], count, PATCH)
    numbers, valid = _numbers(batch, observed[:, 0].reshape(len(batch), count, PATCH))
    behind = (len(batch), known, more, PATCH)
    arrays = (values.reshape(shape), observed.reshape(shape), future.reshape(behind), future_observed.reshape(behind))
    return Patches(
        *(torch.from_numpy(a).to(device) for a in (*arrays, numbers, valid)),
        *torch.from_numpy(moments.astype(np.float32)).to(device),
    )


def _numbers(batch: Sequence[Series], seen: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The numbers of the patches and which ones are real, both (B, T)."""
    started = np.logical_or.accumulate(seen.any(-1), axis=1)
    padding = [seen.shape[1] - -(-len(series) // PATCH) for series in batch]
    valid = np.arange(seen.shape[1]) >= np.array(padding)[:, None]
    return np.maximum(np.cumsum(started, axis=1) - 1, 0), valid


def _moments(observed: FloatArray) -> tuple[float, float]:
    if not len(observed):
        return 0.0, LEAST_SCALE**0.5
    mean = float(observed.mean())
    variance = float(((observed - mean) ** 2).sum()) / max(1, len(observed) - 1)
    return mean, (variance + LEAST_SCALE) ** 0.5


def _causal_mean(values: FloatArray, seen: NDArray[np.bool_]) -> FloatArray:
    """Gaps become the mean of all points before them, themselves held; leading ones the first value."""
    if seen.all() or not seen.any():
        return np.nan_to_num(values)
    last = np.maximum.accumulate(np.where(seen, np.arange(len(values)), -1))
    held = values[np.where(last < 0, int(np.argmax(seen)), last)]
    before = np.concatenate([held[:1], np.cumsum(held)[:-1] / np.arange(1, len(held))])
    return np.where(seen, values, before)
