"""The network of MOMENT-1: a T5 encoder over patches that reconstructs the hidden patches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tsfm.nets import int8
from tsfm.nets.devices import moved
from tsfm.nets.feed import feed
from tsfm.nets.product import add, large
from tsfm.nets.t5 import T5Sizes
from tsfm.series import FloatArray
from tsfm.weights.reader import State

LEAST_DEVIATION = 1e-5  # added to each window's deviation, as upstream's RevIN does


@dataclass(frozen=True)
class Sizes(T5Sizes):
    """The sizes of a checkpoint, and the device and dtype to use.

    Attributes:
        window, patch: lengths in points.
        biased: whether the embedding of a patch has a bias.
        reach: distance in patches; all distances from ``reach`` on share one bucket.
        dtype: dtype of the feed-forward products, which are two thirds of the work. All else runs in float32:
            attention is not scaled here, so rounding its inputs to bfloat16 changes the answer more than all else.
            With int8 the products of attention run in it too: they would take two thirds of the time.
    """

    window: int
    patch: int
    biased: bool
    buckets: int
    reach: int
    device: torch.device
    dtype: torch.dtype


class Encoder:
    """The tensors of the official module and our own forward pass.

    Only the feed-forward products of the layers run in ``dtype``, with int8 those of attention as well. All else is in
    float32.
    """

    def __init__(self, state: State, sizes: Sizes) -> None:
        width, self._sizes = sizes.width, sizes
        embedding = "patch_embedding"
        self._values = exact(state, sizes, f"{embedding}.value_embedding.weight", width, sizes.patch)
        self._shift = exact(state, sizes, f"{embedding}.value_embedding.bias", width) if sizes.biased else None
        self._hidden = exact(state, sizes, f"{embedding}.mask_embedding", width)
        self._positions = _positions(state, sizes)
        self._bias = _relative_bias(state, sizes)
        self._layers = [_Layer(state, sizes, f"encoder.block.{at}.layer") for at in range(sizes.layers)]
        self._norm = exact(state, sizes, "encoder.final_layer_norm.weight", width)
        self._head = exact(state, sizes, "head.linear.weight", sizes.patch, width)
        self._head_bias = exact(state, sizes, "head.linear.bias", sizes.patch)
        if (words := "encoder.embed_tokens.weight") in state:  # T5's vocabulary, which series do not use
            state.take(words, state.shape(words, 2))
        state.finish()

    def reconstruct(self, windows: Sequence[FloatArray]) -> list[FloatArray]:
        """Reconstruct every point of each window, in the window's unit.

        Args:
            windows: each of shape (n,) with n up to the window's size, NaN at missing points. At least one
                whole patch, counted from the end, must be known.
        """
        known = _Windows.of(windows, self._sizes.patch)
        patches = self._forward(*(moved(part, self._sizes.device) for part in known.parts()))
        restored = patches.cpu().numpy().reshape(len(windows), -1) * known.deviation + known.mean
        return [row[-len(window) :] for row, window in zip(restored, windows, strict=True)]

    def _forward(self, values: Tensor, whole: Tensor, real: Tensor) -> Tensor:
        count = values.shape[1]
        x = torch.where(whole[..., None], F.linear(values, self._values, self._shift), self._hidden)
        x = x + self._positions[-count:]
        bias = self._bias[:, :count, :count]
        if not real.all():
            bias = bias.masked_fill(~real[:, None, None, :], torch.finfo(bias.dtype).min)
        for layer in self._layers:
            x = layer(x, bias)
        x = F.rms_norm(x, (self._sizes.width,), self._norm, self._sizes.epsilon)
        return F.linear(x, self._head, self._head_bias)


@dataclass(frozen=True)
class _Windows:
    """Windows of any lengths as patches, aligned at their ends and normalised by the known points of each window.

    Attributes:
        values: shape (b, n, patch); 0 at missing points and before a window begins.
        whole: shape (b, n); True for patches without a missing point. The other patches are hidden from the model.
        real: shape (b, n); True for patches that are completely inside the window. No patch attends to the others.
        mean, deviation: shape (b, 1).
    """

    values: FloatArray
    whole: NDArray[np.bool_]
    real: NDArray[np.bool_]
    mean: FloatArray
    deviation: FloatArray

    def parts(self) -> tuple[FloatArray, NDArray[np.bool_], NDArray[np.bool_]]:
        return self.values, self.whole, self.real

    @classmethod
    def of(cls, windows: Sequence[FloatArray], patch: int) -> _Windows:
        points = -(-max(map(len, windows)) // patch) * patch
        values = np.full((len(windows), points), np.nan)
        real = np.zeros((len(windows), points), bool)
        for row, inside, window in zip(values, real, windows, strict=True):
            row[points - len(window) :] = window
            inside[points - len(window) :] = True
        mean = np.nanmean(values, axis=1, keepdims=True)
        deviation = np.nanstd(values, axis=1, keepdims=True) + LEAST_DEVIATION
        values = (values - mean) / deviation
        missing = np.isnan(values)
        shape = (len(windows), -1, patch)
        return cls(
            np.where(missing, 0, values).astype(np.float32).reshape(shape),
            np.all(~missing.reshape(shape), axis=-1),
            np.all(real.reshape(shape), axis=-1),
            mean.astype(np.float32),
            deviation.astype(np.float32),
        )


class _Layer:
    """One encoder block of transformers' ``T5Stack``: attention without scaling, then a gated feed-forward."""

    def __init__(self, state: State, sizes: Sizes, at: str) -> None:
        self._sizes = sizes
        width, inside = sizes.width, sizes.heads * sizes.head_width
        attention, mlp = f"{at}.0.SelfAttention", f"{at}.1.DenseReluDense"
        before, before_mlp = (
            (exact(state, sizes, f"{at}.{part}.layer_norm.weight", width), sizes.epsilon) for part in (0, 1)
        )
        qkv = torch.cat([exact(state, sizes, f"{attention}.{p}.weight", inside, width) for p in "qkv"])
        self._qkv = large(qkv, int8.or_float32(sizes.dtype), before)
        self._out = large(exact(state, sizes, f"{attention}.o.weight", width, inside), int8.or_float32(sizes.dtype))
        up = torch.cat([fast(state, sizes, f"{mlp}.wi_{i}.weight", sizes.hidden, width) for i in (0, 1)])
        down = fast(state, sizes, f"{mlp}.wo.weight", width, sizes.hidden)
        self._feed = feed(up, down, sizes.act, sizes.dtype, gated=True, norm=before_mlp)

    def __call__(self, x: Tensor, bias: Tensor) -> Tensor:
        """Change x, shape (b, n, width), in place; ``bias`` broadcasts to (b, heads, n, n)."""
        sizes = self._sizes
        qkv = self._qkv(x).view(*x.shape[:2], 3, sizes.heads, sizes.head_width)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (b, heads, n, head)
        bias = bias.expand(len(x), -1, -1, -1)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
        x = add(x, self._out, mixed.transpose(1, 2).flatten(2))
        return add(x, self._feed, x)


def exact(state: State, sizes: Sizes, name: str, *shape: int) -> Tensor:
    """Take a tensor as a float32 copy: a tensor that stays in the mapped file would keep the whole file mapped."""
    return state.take(name, shape).to(sizes.device, torch.float32, copy=True)


def fast(state: State, sizes: Sizes, name: str, *shape: int) -> Tensor:
    """Take a tensor as a copy in the dtype of the feed-forward products."""
    return state.take(name, shape).to(sizes.device, int8.given(sizes.dtype), copy=True)


def _positions(state: State, sizes: Sizes) -> Tensor:
    """The position embedding, shape (patches of a window, width)."""
    name, count = "patch_embedding.position_embedding.pe", sizes.window // sizes.patch
    stored = state.shape(name, 3)[1]
    return state.take(name, (1, stored, sizes.width))[0, :count].to(sizes.device, torch.float32, copy=True)


def _relative_bias(state: State, sizes: Sizes) -> Tensor:
    """The bias that attention adds for each distance, shape (heads, n, n); all layers share that of the first layer.

    The first half of the buckets is for keys before the query, the second half for keys after it. In each half, one
    half is for single distances and the rest grows with the logarithm (transformers' ``T5Attention``).
    """
    name = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    table = exact(state, sizes, name, sizes.buckets, sizes.heads)
    index = torch.arange(sizes.window // sizes.patch, device=sizes.device)
    ahead = index[None, :] - index[:, None]
    side, single = sizes.buckets // 2, sizes.buckets // 4
    far = ahead.abs().clamp(min=1).float()  # a distance of 0 uses a single-distance bucket below
    growth = torch.log(far / single) / math.log(sizes.reach / single) * (side - single)
    bucket = torch.where(ahead.abs() < single, ahead.abs(), (single + growth.long()).clamp(max=side - 1))
    return table[bucket + side * (ahead > 0)].permute(2, 0, 1).contiguous()
