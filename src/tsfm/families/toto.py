"""Toto 2.0: a decoder over patches of 32 points that forecasts all patches in one pass, with native quantiles.

The network is our own (``tsfm.nets.toto``) and follows toto-2 2.0.0 with the settings of its GluonTS model: gaps are
filled with the value before them and marked, patches with fewer than 8 points up to them take the scale of the first 8,
quantiles stay within 10,000 deviations, and the horizon is decoded in one block.

What the numbers mean:

* The variates of a target are forecast together: in the layers over variates each sees the others, with their gaps.
  The package's code can hand covariates to these layers too, its documents plan them for a later release: here a
  regression takes them.
* The last patch counts as observed, as in the package. A series of less than 32 points begins with zeros there.
* Context and horizon share 4,096 points, those of training.

No official weights were at hand. The configurations are those whose SHA-256 the card pins, byte by byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsfm.errors import ConfigError
from tsfm.nets.devices import moved
from tsfm.nets.toto import QUANTILES, Toto
from tsfm.nets.toto_layers import Sizes
from tsfm.numerics import quantiles
from tsfm.series import Capabilities, FloatArray, Forecast, Group, Runtime, Series
from tsfm.weights.configuration import Config
from tsfm.weights.reader import arithmetic, read_weights

CARD = {
    "summary": "Toto 2.0: 4 M and 22 M parameters, native quantiles, all steps in one pass",
    "licence": "Apache-2.0",
    "commercial": "yes",
    "year": 2026,
    "paper": "https://arxiv.org/abs/2605.20119",
    "keys": ["toto"],
    "task": "forecast",
    "paths": ["/ds_predict"],
    "port": 6080,
    "memory_mib": 350,
    # Commits and hashes are those that independent public projects state.
    "checkpoints": [
        {
            "name": "Datadog/Toto-2.0-4m",
            "revision": "8306a9801cf98c0f5ffe4b2dcc8f496e616d84d9",
            "sha256": {
                "config.json": "7a926d130e401ab0c5fdb3564f46c8d917bd05c7b3ae26b9c22d2da2ef01d2d8",
                "model.safetensors": "316660d5afb47943e531f39242e0b02ca0b8bb73be5709dfe07ca80dfce9805e",
            },
            "parameters": 4_144_448,
            "bytes": 16_583_440,
            "files": ["config.json", "model.safetensors"],
            "capabilities": ["multivariate", "native_quantiles", "missing_values"],
            "marks": {"residual_attn_ratio": "*", "num_variate_layers_per_group": "*"},
            "shape": {"d_model": 256, "num_layers": 4},
        },
        {
            "name": "Datadog/Toto-2.0-22m",
            "revision": "3affccf372ff82f5d200ac76fad3dbcdeb64299a",
            "sha256": {
                "config.json": "abeaf0fcd54aaac66757fde69ec3ddb4d3bfdcf96e0c8f767aefd03ab4c9e8d9",
                "model.safetensors": "9cd503d82df3aa71747862688f47a31c1d0a4b80f898df6e046189016eaa21dd",
            },
            "parameters": 21_915_584,
            "bytes": 87_669_961,
            "files": ["config.json", "model.safetensors"],
            "capabilities": ["multivariate", "native_quantiles", "missing_values"],
            "marks": {"residual_attn_ratio": "*", "num_variate_layers_per_group": "*"},
            "shape": {"d_model": 512, "num_layers": 6},
        },
    ],
    "requirements": ["safetensors==0.8.0"],
}

CONTEXT = 4096  # points of context, and of all patches of the horizon but the first
FEWEST = 8  # observed points that make a scale of their own
LEAST_SCALE = 1e-6
FARTHEST = 1e4  # deviations from the observed values


def load(folder: Path | None, runtime: Runtime) -> TotoFamily:
    """Load the checkpoint in ``folder`` (config.json, model.safetensors).

    Raises:
        ConfigError: the folder holds something else.
    """
    if folder is None:
        raise ConfigError("toto: expected a folder with a checkpoint, got none")
    sizes = Sizes.read(Config.read(folder))
    dtype, path = arithmetic(runtime)
    state = read_weights(folder)
    net = Toto(sizes, lambda name, shape: state.take(name, shape).to(runtime.device), dtype)
    state.finish()
    return TotoFamily(net, runtime.device, path)


class TotoFamily:
    """A loaded Toto; gaps are marked, as in its training."""

    min_context = min_room = 1
    max_context = CONTEXT
    batch_points = 64 * 512
    capabilities = Capabilities(multivariate=True, native_quantiles=True, missing_values=True)

    def __init__(self, net: Toto, device: str, path: str) -> None:
        self._net, self._device = net, device
        self.path = f"{path} in the layers, float32 around them" if path.startswith("bf") else path

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        patch = self._net.sizes.patch
        return CONTEXT - (-(-horizon // patch) - 1) * patch

    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        return [made for (made,) in self.forecast_joint([Group((series,)) for series in batch], horizon, levels)]

    def forecast_joint(self, batch: Sequence[Group], horizon: int, levels: Sequence[float]) -> list[list[Forecast]]:
        patch, size = self._net.sizes.patch, len(batch[0].members)
        values, observed = _padded([series.target for group in batch for series in group.members], patch)
        centre, spread = _scales(values, observed, patch)
        patched = ((values.reshape(*centre.shape, patch) - centre[..., None]) / spread[..., None]).astype(np.float32)
        marks = observed.reshape(patched.shape)
        inputs = moved(np.where(marks, patched, np.float32(0)), self._device), moved(marks, self._device)
        answer = self._net.forecast(*inputs, -(-horizon // patch), size)
        made = answer.cpu().numpy()[..., :horizon] * spread[:, -1, None, None] + centre[:, -1, None, None]
        room = FARTHEST * spread[:, -1]
        low = np.where(observed, values, np.inf).min(axis=1) - room
        high = np.where(observed, values, -np.inf).max(axis=1) + room
        rows = quantiles.forecasts(QUANTILES, np.clip(made, low[:, None, None], high[:, None, None]), levels)
        return [rows[at : at + size] for at in range(0, len(rows), size)]


def _padded(targets: Sequence[FloatArray], patch: int) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Series aligned at their ends, (B, whole patches): filled with the value before a gap, 0 in front; observed."""
    points = -(-max(map(len, targets)) // patch) * patch
    values = np.full((len(targets), points), np.nan)
    for row, target in zip(values, targets, strict=True):
        row[points - len(target) :] = target
    observed = ~np.isnan(values)
    newest = np.maximum.accumulate(np.where(observed, np.arange(points), 0), axis=1)
    filled = np.nan_to_num(np.take_along_axis(values, newest, axis=1))
    observed[:, -patch:] = True
    return filled, observed


def _scales(values: FloatArray, observed: NDArray[np.bool_], patch: int) -> tuple[FloatArray, FloatArray]:
    """Mean and deviation of all observed points up to the end of each patch, shape (B, patches) each."""
    count = observed.cumsum(axis=1)
    few = np.maximum(count, 1)
    mean = (values * observed).cumsum(axis=1) / few
    before = np.concatenate((np.zeros_like(mean[:, :1]), mean[:, :-1]), axis=1)
    squares = ((values - before) * (values - mean) * observed).cumsum(axis=1)
    deviation = np.sqrt(np.maximum(squares, 0) / np.maximum(few - 1, 1))
    ends = slice(patch - 1, None, patch)
    first = observed & (count <= FEWEST)
    size = np.maximum(first.sum(axis=1), 1)
    centre = (values * first).sum(axis=1) / size
    spread = np.sqrt((((values - centre[:, None]) * first) ** 2).sum(axis=1) / np.maximum(size - 1, 1))
    short = count[:, ends] < FEWEST
    centres = np.where(short, centre[:, None], mean[:, ends])
    return centres, np.maximum(np.where(short, spread[:, None], deviation[:, ends]), LEAST_SCALE)
