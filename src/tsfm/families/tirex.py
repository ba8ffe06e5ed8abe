"""TiRex-2: an xLSTM over patches of 32 points, with native quantiles, covariates and several variates.

The network is our own (``tsfm.nets.tirex``) and follows tirex-2 0.4.0. The package asks for mlstm_kernels, whose
licence limits what companies may do with it, so nothing here needs it: the tests compare with numbers that the package
gave (``make reference FAMILY=tirex``). Podest et al., TiRex-2: Generalizing TiRex to Multivariate Data and Streaming.

What the numbers mean, all as in the package's ``PostProcessor`` and ``Scaler``:

* A target with a strong linear trend is forecast by its differences; the bands of both kinds are calibrated.
* A series of two values, such as a mark of holidays, is taken as zeros and ones and not scaled. The package does this
  for 0 and 1 only; here it holds in every unit, and not for so few points that there are no more values.
* Series see 2,048 points. Those that are shorter are filled with missing patches in front.
* The package forecasts 320 steps; beyond them further missing patches follow, as in the maker's first TiRex.

No official weights were at hand: sizes and keys are those of the package and its public tests. The parameters that the
maker states follow from them, and the size of the first published file, but for 24 kB of 381 MB. The card names no
commit, since no public project states one that holds config.json and model.safetensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tsfm.errors import ConfigError
from tsfm.nets.devices import moved, portion
from tsfm.nets.tirex import Tirex
from tsfm.nets.tirex_sizes import Sizes
from tsfm.numerics import quantiles, trend
from tsfm.series import Capabilities, FloatArray, Forecast, Group, Runtime, Series
from tsfm.weights.configuration import Config
from tsfm.weights.reader import State, arithmetic, read_weights

CARD = {
    "summary": "TiRex-2: an xLSTM with native quantiles, covariates and several variates",
    "licence": "Apache-2.0",
    "commercial": "yes",
    "year": 2026,
    "paper": "https://arxiv.org/abs/2607.01204",
    "keys": ["tirex"],
    "task": "forecast",
    "paths": ["/ds_predict"],
    "port": 6081,
    "memory_mib": 700,
    "checkpoints": [
        {
            "name": "NX-AI/TiRex-2",
            "parameters": 82_501_744,
            "bytes": 330_038_552,
            "files": ["config.json", "model.safetensors"],
            "capabilities": [
                "past_covariates",
                "future_covariates",
                "native_quantiles",
                "missing_values",
                "covariate_gaps",
                "multivariate",
            ],
            "marks": {"stack_config": "*", "tokenizer_cfg": "*"},
            "shape": {"embedding_dim": 512, "num_blocks": 12},
        },
    ],
    "requirements": ["safetensors==0.8.0"],
}

LONGEST = 4096  # steps ahead
AT_ONCE = 8192  # patches of a pass
FARTHEST = 20.0  # of the network's output, before sinh


def load(folder: Path | None, runtime: Runtime) -> TirexFamily:
    """Load the checkpoint in ``folder`` (config.json, model.safetensors).

    Raises:
        ConfigError: the folder holds something else.
    """
    if folder is None:
        raise ConfigError("tirex: expected a folder with a checkpoint, got none")
    sizes = Sizes.read(Config.read(folder))
    # bfloat16 moves a forecast by 5 % of a deviation and saves a sixth of the time at most: on request only.
    dtype, path = arithmetic(replace(runtime, dtype="float32") if runtime.dtype == "auto" else runtime)
    state = read_weights(folder)
    net = Tirex(sizes, lambda name, shape: _taken(state, name, shape).to(runtime.device), dtype, runtime.device)
    state.finish()
    return TirexFamily(net, runtime.device, path)


def _taken(state: State, name: str, shape: Sequence[int]) -> Tensor:
    """The tensor, which the package has under several names: a cell serves both directions."""
    *folder, last = name.split(".")
    plain = [name, ".".join((*folder, last.strip("_")))] if last.startswith("_") else [name]
    names = [*plain, *(one.replace(".fwd_cell.", ".rev_cell.") for one in plain)]
    first, *copies = [one for one in dict.fromkeys(names) if one in state] or [name]
    for copy in copies:
        state.take_copy(copy, first, shape)
    return state.take(first, shape)


class TirexFamily:
    """A loaded TiRex-2; gaps are masked, as in its training."""

    min_context = min_room = 1
    batch_points = 32 * 512
    capabilities = Capabilities(
        past_covariates=True,
        future_covariates=True,
        native_quantiles=True,
        missing_values=True,
        covariate_gaps=True,
        multivariate=True,
    )

    def __init__(self, net: Tirex, device: str, path: str) -> None:
        self._net, self._device = net, device
        self.max_context = net.sizes.context
        self.path = f"{path} in the products, float32 in the states" if path.startswith("bf") else path

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        return self.max_context if horizon <= LONGEST else 0

    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        return [made for (made,) in self.forecast_joint([Group((series,)) for series in batch], horizon, levels)]

    def forecast_joint(self, batch: Sequence[Group], horizon: int, levels: Sequence[float]) -> list[list[Forecast]]:
        sizes, variates = self._net.sizes, len(batch[0].members)
        targets = [member.target for group in batch for member in group.members]
        strong = [sizes.difference and trend.is_strong(target) for target in targets]
        steps = iter([trend.differences(row) if how else row for row, how in zip(targets, strong, strict=True)])
        table, known = _table(batch, steps, horizon, sizes)
        passes = [self._quantiles(table, known, batch[0], horizon, sizes.binary)]
        if sizes.flip:  # upside down, zeros and ones are no longer those
            passes.append(-self._quantiles(-table, known, batch[0], horizon, False)[:, ::-1])
        made = [
            np.mean([_finished(one, target, how) for one in both], axis=0)
            for both, target, how in zip(zip(*passes, strict=True), targets, strong, strict=True)
        ]
        found = quantiles.forecasts(sizes.quantiles, np.stack(made), levels)
        return [found[at : at + variates] for at in range(0, len(found), variates)]

    def _quantiles(
        self, table: FloatArray, known: Sequence[int], group: Group, horizon: int, binary: bool
    ) -> FloatArray:
        """Quantiles of the targets in the unit of the table, (targets of all groups, Q, horizon).

        Args:
            group: the first one; all are alike.
            binary: series of two values are taken as zeros and ones.
        """
        sizes = self._net.sizes
        scaled, centre, scale, two = _scaled(table, sizes, binary)
        begin = int(np.isnan(table).all(axis=0).argmin()) // sizes.patch * sizes.patch
        cut = scaled if known else scaled[:, begin : sizes.context]
        values = cut.reshape(len(cut), -1, sizes.patch).astype(np.float32)
        size = group.rows * max(1, portion(AT_ONCE, self._device) // (group.rows * values.shape[1]))
        starts = range(0, len(values), size)
        parts = [[row - at for row in known if at <= row < at + size] if known else None for at in starts]
        made = np.concatenate(
            [self._pass(values[at : at + size], part, group, horizon) for at, part in zip(starts, parts, strict=True)]
        )
        centre, scale, two = (
            part.reshape(-1, group.rows, 1, 1)[:, : len(group.members)].reshape(-1, 1, 1)
            for part in (centre, scale, two)
        )
        if sizes.arcsinh:
            made = np.where(two, made, np.sinh(np.clip(made, -FARTHEST, FARTHEST)))
        return np.asarray(made * scale + centre)

    def _pass(self, values: FloatArray, known: list[int] | None, group: Group, horizon: int) -> FloatArray:
        """Quantiles of the targets, (targets, Q, horizon), in the scale of ``values``, (R, T, P), NaN where missing."""
        observed = ~np.isnan(values)
        made = self._net.forecast(
            moved(np.where(observed, values, np.float32(0)), self._device),
            moved(observed, self._device),
            group.rows,
            len(group.members),
            None if known is None else torch.tensor(known, dtype=torch.long, device=self._device),
            -(-horizon // self._net.sizes.patch),
        )
        return made[..., :horizon].cpu().numpy().astype(np.float64)


def _table(
    batch: Sequence[Group], targets: Iterator[FloatArray], horizon: int, sizes: Sizes
) -> tuple[FloatArray, list[int]]:
    """All series, (R, points of the context and ahead), NaN where missing, and the numbers of those known ahead.

    The groups follow one another; each has its targets first.
    """
    rows: list[tuple[FloatArray, int]] = []
    known = []
    for group in batch:
        rows += [(next(targets), len(member)) for member in group.members]
        for member in group.members:
            rows += [(row, len(member)) for row in member.past_covariates]
            for row in member.future_covariates:
                if not np.isnan(row[len(member) :]).all():
                    known.append(len(rows))
                rows.append((row, len(member)))
    ahead = max(sizes.future, -(-horizon // sizes.patch) * sizes.patch)
    table = np.full((len(rows), sizes.context + ahead), np.nan)
    for line, (row, points) in zip(table, rows, strict=True):
        newest = row[max(0, points - sizes.context) :]
        line[max(0, sizes.context - points) :][: len(newest)] = newest
    return table, known


def _scaled(table: FloatArray, sizes: Sizes, binary: bool) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """The table scaled, and centre, scale and whether it is of two values, (R, 1) each."""
    observed = ~np.isnan(table)
    count = np.maximum(observed.sum(axis=1, keepdims=True), 1)
    centre = np.where(observed, table, 0).sum(axis=1, keepdims=True) / count
    scale = np.sqrt((np.where(observed, table - centre, 0) ** 2).sum(axis=1, keepdims=True) / count)
    low = np.where(observed, table, np.inf).min(axis=1, keepdims=True)
    high = np.where(observed, table, -np.inf).max(axis=1, keepdims=True)
    two = (~observed | (table == low) | (table == high)).all(axis=1, keepdims=True)
    two &= binary & (count > 2)  # fewer are always so
    centre, scale = np.where(two, low, centre), np.where(two, high - low, np.maximum(scale, sizes.least_scale))
    scaled = (table - centre) / np.where(scale > 0, scale, 1)
    return np.where(two, scaled, np.arcsinh(scaled)) if sizes.arcsinh else scaled, centre, scale, two


def _finished(values: FloatArray, target: FloatArray, strong: bool) -> FloatArray:
    """The quantiles of a target, shape (Q, horizon), from those of its values or of its differences."""
    return trend.summed(values, target[~np.isnan(target)][-1]) if strong else trend.calibrated(values)
