"""The network of TimesFM 2.0: from patches of 32 points to the next 128 points with their quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tsfm.errors import ConfigError
from tsfm.nets import int8
from tsfm.nets.devices import moved
from tsfm.nets.feed import feed
from tsfm.nets.product import Product, add, product
from tsfm.series import FloatArray
from tsfm.weights.reader import State

PATCH = 32
STEP = 128  # points that one pass forecasts
OUTPUTS = 10  # outputs for each point: the mean, then nine quantiles
EPSILON = 1e-6
FIRST = 20  # number of layers of TimesFM 1.0


@dataclass(frozen=True)
class Patched:
    """Series of any lengths as patches, aligned at their ends.

    Attributes:
        values: shape (b, n, PATCH), normalised; 0 before a series begins.
        absent: shape (b, n, PATCH); 1 before a series begins.
        mean, deviation: shape (b, 1, 1).
    """

    values: FloatArray
    absent: FloatArray
    mean: FloatArray
    deviation: FloatArray


def patch(batch: Sequence[FloatArray]) -> Patched:
    """Cut series, each of at least one point, into patches and normalise them."""
    points = -(-max(map(len, batch)) // PATCH) * PATCH
    values = np.zeros((len(batch), points), np.float32)
    absent = np.ones((len(batch), points), np.float32)
    scales = np.array([_scale(series) for series in batch], np.float32)
    for row, flags, series, (mean, deviation) in zip(values, absent, batch, scales, strict=True):
        row[points - len(series) :] = (series - mean) / deviation
        flags[points - len(series) :] = 0
    shape = (len(batch), -1, PATCH)
    mean, deviation = scales.T[:, :, None, None]
    return Patched(values.reshape(shape), absent.reshape(shape), mean, deviation)


def _scale(series: FloatArray) -> tuple[float, float]:
    """Mean and deviation of the first patch that has at least three points."""
    begun = len(series) % PATCH or PATCH
    first = series[:begun] if begun >= 3 or len(series) < PATCH else series[begun : begun + PATCH]
    deviation = float(np.std(first, dtype=np.float64))
    return float(np.mean(first, dtype=np.float64)), deviation if deviation >= EPSILON else 1.0


@dataclass(frozen=True)
class Sizes:
    """Sizes of the network, read from the checkpoint's tensors."""

    width: int
    layers: int
    head: int


class Reader:
    """Takes tensors out of a checkpoint and converts them to the dtype that the network needs."""

    def __init__(self, state: State, device: torch.device, dtype: torch.dtype) -> None:
        self.state, self._device, self.dtype = state, device, dtype

    def exact(self, name: str, *shape: int) -> Tensor:
        # A tensor that stays in the mapped file keeps the whole file mapped.
        return self.state.take(name, shape).to(self._device, torch.float32, copy=True)

    def affine(self, name: str, wide: int, out: int) -> Product:
        return product(self.exact(f"{name}.weight", out, wide), self.exact(f"{name}.bias", out))

    def fast(self, name: str, wide: int, out: int, norm: int8.Norm | None = None) -> Product:
        """A product in the network's dtype."""
        return product(*self._taken(name, wide, out), self.dtype, norm)

    def feed(self, up: str, down: str, width: int) -> Product:
        """The product ``up``, ReLU, the product ``down``, each from ``width`` to ``width``."""
        (into, before), (out, after) = (self._taken(name, width, width) for name in (up, down))
        return feed(into, out, "relu", self.dtype, biases=(before, after))

    def _taken(self, name: str, wide: int, out: int) -> tuple[Tensor, Tensor]:
        weight, bias = self.state.take(f"{name}.weight", (out, wide)), self.state.take(f"{name}.bias", (out,))
        return weight.to(self._device), bias.to(self._device)


class Decoder:
    """The tensors of the official module and our own forward pass.

    The residual stream, the first and the last block are float32; the products of the layers are in the reader's
    dtype.
    """

    def __init__(self, reader: Reader) -> None:
        width = reader.state.shape("freq_emb.weight", 2)[1]
        (head,) = reader.state.shape("stacked_transformer.layers.0.self_attn.scaling", 1)
        self._frequencies = reader.exact("freq_emb.weight", 3, width)
        self._into = _ResidualBlock(reader, "input_ff_layer", 2 * PATCH, width, width)
        self._out = _ResidualBlock(reader, "horizon_ff_layer", width, width, STEP * OUTPUTS)
        self._layers: list[_Layer] = []
        while (at := f"stacked_transformer.layers.{len(self._layers)}") + ".self_attn.scaling" in reader.state:
            self._layers.append(_Layer(reader, at, width))
        self.sizes = Sizes(width, len(self._layers), head)
        if self.sizes.layers == FIRST:
            raise ConfigError(
                f"{reader.state.path}: expected TimesFM 2.0 (50 layers), found {FIRST}: "
                "TimesFM 1.0 has the same names of tensors but adds positions to its patches, and is not served"
            )
        reader.state.finish()

    def next_step(self, patched: Patched, frequency: int) -> FloatArray:
        """Forecast the next STEP points of each series, shape (b, STEP, OUTPUTS), in the series' unit."""
        device = self._frequencies.device
        absent = moved(patched.absent, device)
        x = self._into(torch.cat([moved(patched.values, device), absent], dim=-1))
        x = x + self._frequencies[frequency]
        mask = _mask(patched.absent.min(axis=-1) > 0, device)
        for layer in self._layers:
            x = layer(x, mask)
        steps = self._out(x[:, -1]).view(-1, STEP, OUTPUTS)
        return np.asarray(steps.cpu().numpy() * patched.deviation + patched.mean)


def _mask(absent: NDArray[np.bool_], device: torch.device) -> Tensor | None:
    """Attention mask of the patches, shape (b, 1, n, n); None means plain causal order.

    Args:
        absent: shape (b, n), True for patches before a series begins. Only such a patch itself attends to it.
    """
    if not absent.any():  # asked of the host's memory: no pass waits for the device
        return None
    n, before = absent.shape[1], moved(absent, device)
    itself = torch.eye(n, dtype=torch.bool, device=device)
    causal = torch.ones(n, n, dtype=torch.bool, device=device).tril()
    return ((causal & ~before[:, None, :]) | itself)[:, None]


class _ResidualBlock:
    """Upstream's ``ResidualBlock``: a hidden layer with SiLU plus a linear skip connection."""

    def __init__(self, reader: Reader, name: str, wide: int, hidden: int, out: int) -> None:
        self._hidden = reader.affine(f"{name}.hidden_layer.0", wide, hidden)
        self._output = reader.affine(f"{name}.output_layer", hidden, out)
        self._straight = reader.affine(f"{name}.residual_layer", wide, out)

    def __call__(self, x: Tensor) -> Tensor:
        return self._output(F.silu(self._hidden(x))) + self._straight(x)


class _Layer:
    """Upstream's ``TimesFMDecoderLayer``: attention with a scale for each dimension, then a plain feed-forward."""

    def __init__(self, reader: Reader, at: str, width: int) -> None:
        (head,) = reader.state.shape(f"{at}.self_attn.scaling", 1)
        self._dtype = int8.given(reader.dtype)
        self._width = width
        norm = reader.exact(f"{at}.input_layernorm.weight", width), EPSILON
        # With the factor 1.442695041, a parameter of 0 gives the scale of plain attention.
        scaling = F.softplus(reader.exact(f"{at}.self_attn.scaling", head)) * 1.442695041
        self._scale = (scaling / head**0.5).to(int8.between(reader.dtype))
        self._qkv = reader.fast(f"{at}.self_attn.qkv_proj", width, 3 * width, norm)
        self._out = reader.fast(f"{at}.self_attn.o_proj", width, width)
        norm_at = f"{at}.mlp.layer_norm"
        self._mlp_norm = reader.exact(f"{norm_at}.weight", width), reader.exact(f"{norm_at}.bias", width)
        self._feed = reader.feed(f"{at}.mlp.gate_proj", f"{at}.mlp.down_proj", width)

    def __call__(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """From shape (b, n, width) to the same shape."""
        qkv = self._qkv(x).view(*x.shape[:2], 3, -1, len(self._scale))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (b, heads, n, head)
        mixed = F.scaled_dot_product_attention(q * self._scale, k, v, attn_mask=mask, is_causal=mask is None, scale=1.0)
        x = x + self._out(mixed.transpose(1, 2).flatten(2))
        normed = F.layer_norm(x, (self._width,), *self._mlp_norm, EPSILON).to(self._dtype)
        return add(x, self._feed, normed)
