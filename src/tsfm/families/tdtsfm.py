"""TDtsfm v1.0, the model that comes with TDengine's TDgpt: a decoder over patches of 96 points.

Our own network reads its state dict, taos.pth, and runs no code from the file. Every step of a forecast
normalises the context together with the points predicted so far, so cached keys and values of an earlier
step would be stale: there is no cache. (Upstream has one: beyond the first 96 steps it normalises each
predicted patch by that patch alone, while the cached keys were normalised by the context.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tsfm.errors import ConfigError
from tsfm.nets.decoder import Angles, Rotary, turned
from tsfm.nets.devices import moved
from tsfm.nets.product import Product, product
from tsfm.numerics import conformal
from tsfm.series import Capabilities, FloatArray, Forecast, Runtime, Series
from tsfm.weights import reader
from tsfm.weights.reader import State

CARD = {
    "summary": "Decoder over patches of 96 points, delivered with TDengine's TDgpt",
    "licence": "comes with TDgpt under TDengine's licence, AGPL-3.0",
    "commercial": "limited",
    "year": 2025,
    "paper": "TDengine documentation, TDgpt, TDtsfm v1.0",
    "keys": ["tdtsfm_1"],
    "task": "forecast",
    "paths": ["/tdtsfm", "/ds_predict"],
    "port": 6036,
    "memory_mib": 600,
    "checkpoints": [
        {
            "name": "taos.pth",
            "parameters": 84_142_080,
            "bytes": 336_599_209,
            "files": ["taos.pth"],
            "capabilities": [],
            "pullable": False,
        },
    ],
}

FILE = "taos.pth"
PATCH = 96
HEADS = 8
THETA = 10_000.0
POSITIONS = 2048  # patches
LARGEST_HORIZON = 1024
LONGEST = 4096  # steps ahead, a gap at the end of the series included: one pass for each 96
ORIGINS = 20  # past forecasts needed for the residuals of one series


def load(folder: Path | None, runtime: Runtime) -> TDtsfm:
    """Load ``taos.pth`` from the folder; depth and widths are read from its tensors.

    Raises:
        ConfigError: not a TDtsfm checkpoint; the message says what was expected and found.
    """
    if folder is None:
        raise ConfigError("family tdtsfm: expected a folder with taos.pth, got none")
    # With few tokens the CPU waits for memory, and the weights are float32: bfloat16 only if the settings ask for it.
    chosen = "float32" if runtime.dtype == "auto" else runtime.dtype
    dtype, path = reader.arithmetic(Runtime(runtime.device, chosen, runtime.threads))
    state = reader.read_torch(folder / FILE)
    network = Network(state, dtype, runtime.device)
    state.finish()
    return TDtsfm(network, path)


class TDtsfm:
    """A loaded TDtsfm: greedy, patch by patch; intervals from the errors of forecasts made at earlier patches."""

    min_context = min_room = PATCH
    max_context = POSITIONS * PATCH - LARGEST_HORIZON
    batch_points = 16_384
    capabilities = Capabilities()

    def __init__(self, network: Network, path: str) -> None:
        self._network, self.path = network, path

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        return min(self.max_context, POSITIONS * PATCH - horizon) if horizon <= LONGEST else 0

    @torch.inference_mode()
    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        """Forecast from the newest whole patches, at least one; the levels are conformal quantiles of past errors."""
        targets = [torch.tensor(series.target, dtype=torch.float32) for series in batch]
        shifts = [_shifts(len(target)) if conformal.needed(levels) else [0] for target in targets]
        rows = [
            _whole_patches(target[: len(target) - shift])
            for target, some in zip(targets, shifts, strict=True)
            for shift in some
        ]
        past = iter(self._network(rows))
        pasts = [[next(past) for _ in some] for some in shifts]
        points = self._generate([_whole_patches(t) for t in targets], [one[0][-1] for one in pasts], horizon)
        answers = []
        for series, target, point, some, made in zip(batch, targets, points, shifts, pasts, strict=True):
            origins, forecasts = _by_origin(len(target), some, made)
            quantiles = conformal.intervals(target.numpy(), origins, forecasts, point, levels, series.filled)
            answers.append(Forecast(point, quantiles))
        return answers

    def _generate(self, contexts: Sequence[Tensor], first: Sequence[Tensor], horizon: int) -> list[FloatArray]:
        """Forecasts, each (horizon,), that continue after the first predicted patch of each series."""
        known = [torch.cat([context, patch]) for context, patch in zip(contexts, first, strict=True)]
        for _ in range(math.ceil(horizon / PATCH) - 1):
            made = self._network(known)
            known = [torch.cat([row, patches[-1]]) for row, patches in zip(known, made, strict=True)]
        return [row[len(context) :][:horizon].numpy() for row, context in zip(known, contexts, strict=True)]


def _whole_patches(target: Tensor) -> Tensor:
    return target[len(target) % PATCH :]


def _shifts(points: int) -> list[int]:
    """Numbers of points to drop at the end, so that the ends of patches give enough past origins."""
    grids = min(8, math.ceil(ORIGINS / (points // PATCH)))
    return [grid * PATCH // grids for grid in range(grids) if points - grid * PATCH // grids >= PATCH]


def _by_origin(points: int, shifts: Sequence[int], made: Sequence[Tensor]) -> tuple[NDArray[np.int64], FloatArray]:
    """Origins, shape (m,), ascending, and the forecasts from them, shape (m, 96)."""
    ends = [
        points - 1 - shift - PATCH * np.arange(len(patches))[::-1] for shift, patches in zip(shifts, made, strict=True)
    ]
    origins = np.concatenate(ends)
    order = np.argsort(origins)
    forecasts: FloatArray = torch.cat(list(made)).numpy()[order]
    return origins[order], forecasts


class Network:
    """The decoder; for rows of whole patches, it forecasts the patch after each patch."""

    def __init__(self, state: State, dtype: torch.dtype, device: str) -> None:
        self._dtype, self._device = dtype, device
        name = "Taos_model.Taos_embed_layer.Taos_emb.weight"
        hidden, _ = state.shape(name, 2)
        if hidden % (2 * HEADS):
            raise ConfigError(f"{state.path}: {name}: expected {HEADS} heads of even width, found {hidden} rows")
        self._embed = product(state.take(name, (hidden, PATCH)).to(device, dtype))
        count = 0
        self._layers: list[Layer] = []
        while count == 0 or f"Taos_model.Taos_layers.{count}.Taos_norm1.weight" in state:
            self._layers.append(Layer(state, f"Taos_model.Taos_layers.{count}", hidden, dtype, device))
            count += 1
        self._norm = Norm(state, "Taos_model.Taos_norm", hidden, device)
        self._head = product(state.take("Taos_lm_heads.0.weight", (PATCH, hidden)).to(device, dtype))
        self._rotary = Rotary(hidden // HEADS, POSITIONS, THETA, dtype, device)

    def __call__(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Forecast after every patch, in the unit of the row.

        Args:
            rows: each (patches * 96,), float32; normalised here by mean and unbiased deviation.

        Returns:
            for each row shape (patches, 96), float32.
        """
        means = torch.stack([row.mean() for row in rows])[:, None, None]
        deviations = torch.stack([row.std() for row in rows])[:, None, None]
        counts = [len(row) // PATCH for row in rows]
        # Padding on the right does not change the tokens before it: attention is causal.
        padded = torch.nn.utils.rnn.pad_sequence([row.view(-1, PATCH) for row in rows], batch_first=True)
        # A constant row is normalised to 0, and its forecast is scaled by 0.
        normal = (padded - means) / torch.where(deviations > 0, deviations, 1.0)
        made = self._forward(moved(normal, self._device).to(self._dtype)).float().cpu() * deviations + means
        return [one[:count] for one, count in zip(made, counts, strict=True)]

    def _forward(self, patches: Tensor) -> Tensor:
        """Shape (rows, patches, 96) to (rows, patches, 96)."""
        rows, length, _ = patches.shape
        angles = self._rotary.at(torch.arange(length, device=self._device).repeat(rows))
        stream = self._embed(patches.reshape(-1, PATCH))
        for layer in self._layers:
            stream = layer(stream, rows, angles)
        return self._head(self._norm(stream)).view(rows, length, PATCH)


class Norm:
    """Layer norm with torch's default epsilon, computed in float32."""

    def __init__(self, state: State, name: str, hidden: int, device: str) -> None:
        self._scale = state.take(f"{name}.weight", (hidden,)).to(device, torch.float32)
        self._shift = state.take(f"{name}.bias", (hidden,)).to(device, torch.float32)

    def __call__(self, stream: Tensor) -> Tensor:
        return F.layer_norm(stream.float(), self._scale.shape, self._scale, self._shift).to(stream.dtype)


class Layer:
    """Attention, then a gated feed-forward block, each added and then normalised."""

    def __init__(self, state: State, name: str, hidden: int, dtype: torch.dtype, device: str) -> None:
        def linear(part: str, rows: int, columns: int, biased: bool = False) -> Product:
            weight = state.take(f"{name}.{part}.weight", (rows, columns)).to(device, dtype)
            bias = state.take(f"{name}.{part}.bias", (rows,)).to(device, dtype) if biased else None
            return product(weight, bias)

        attention, block = "Taos_self_attn.Taos", "Taos_ffn_layer.Taos"
        self._projections = [linear(f"{attention}_{part}_proj", hidden, hidden, biased=True) for part in "qkv"]
        self._out = linear(f"{attention}_o_proj", hidden, hidden)
        inner, _ = state.shape(f"{name}.{block}_gate_proj.weight", 2)
        self._gate = linear(f"{block}_gate_proj", inner, hidden)
        self._up = linear(f"{block}_up_proj", inner, hidden)
        self._down = linear(f"{block}_down_proj", hidden, inner)
        self._norms = [Norm(state, f"{name}.Taos_norm{which}", hidden, device) for which in (1, 2)]

    def __call__(self, stream: Tensor, rows: int, angles: Angles) -> Tensor:
        """The stream, shape (rows * patches, hidden), after this layer."""
        query, key, value = (project(stream).view(len(stream), HEADS, -1) for project in self._projections)
        by_row = (rows, len(stream) // rows, HEADS, -1)
        query, key = turned(query, angles).view(by_row), turned(key, angles).view(by_row)
        attended = F.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.view(by_row).transpose(1, 2), is_causal=True
        ).transpose(1, 2)
        stream = self._norms[0](stream + self._out(attended.reshape(stream.shape)))
        inner = F.gelu(self._gate(stream)) * self._up(stream)
        return self._norms[1](stream + self._down(inner))
