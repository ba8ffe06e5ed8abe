"""The transformer of Moirai-MoE and Moirai-2: causal by time, with keys and values kept for sample paths.

Written from uni2ts 2.0.0 (``uni2ts.module.transformer.TransformerEncoder`` and the modules that it uses); reads
its tensor names. A token attends to every token of its own patch or an earlier patch, of any variate. The encoding
of a context therefore does not depend on later tokens: it is computed once, and all sample paths share it.
Only the feed-forwards run in the requested dtype; they are nine tenths of the arithmetic. Attention in bfloat16
would move tokens to other experts and change the answer (docs/decisions/0006-mixed-precision.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.nets.devices import is_gpu
from tsfm.nets.mixture import Dense, gathered, spread
from tsfm.weights.reader import State

HEAD = 64  # uni2ts: num_heads = d_model // 64
ROTATED = 32  # positions rotate the first half of each head (partial_factor 0.0 to 0.5)
THETA = 10_000.0  # uni2ts: RotaryProjection's base
EXPERTS, CHOSEN = 32, 2  # fixed in uni2ts's TransformerEncoder


@dataclass(frozen=True)
class Sizes:
    """Sizes of the transformer, read from config.json."""

    width: int  # d_model
    inner: int  # d_ff of one expert
    layers: int
    experts: bool


@dataclass(frozen=True)
class Ids:
    """The information that attention uses about N tokens in each of R rows.

    Attributes:
        times: (R, N) number of the patch; tokens with equal numbers attend to each other.
        variates: (N,) number of the variate; targets come first.
        valid: (R, N) False for padding; no token attends to padding.
        several: there is more than one variate.
    """

    times: Tensor
    variates: Tensor
    valid: Tensor
    several: bool

    @cached_property
    def padded(self) -> bool:
        """Whether there is padding; asked once, since a GPU's answer has to be waited for."""
        return not bool(self.valid.all())

    def mask(self) -> Tensor | None:
        """Attention mask (R, 1, N, N), True where a token may attend; None for plain causal order."""
        times = self.times
        if not (self.several or self.padded) and bool((times[:, 1:] > times[:, :-1]).all()):
            return None
        visible = (times[:, None, :] <= times[:, :, None]) & self.valid[:, None, :]
        # A row of padding must attend to some token; otherwise its softmax divides by zero.
        return (visible | ~self.valid[:, :, None])[:, None]


class Paths:
    """Keys and values of one layer: one set for the context, and one set for each of the S paths after it.

    Shapes: context (B, heads, N, 64), own (B, heads, S, room, 64).
    """

    def __init__(self, keys: Tensor, values: Tensor, samples: int, room: int) -> None:
        shape = (*keys.shape[:2], samples, room, HEAD)
        self.context = keys, values
        self.own = keys.new_empty(shape), keys.new_empty(shape)
        self.used = 0

    def grow(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append n tokens, (B, heads, S, n, 64), and return the keys and values of all tokens of the paths."""
        end = self.used + keys.shape[3]
        for store, new in zip(self.own, (keys, values), strict=True):
            store[:, :, :, self.used : end] = new
        self.used = end
        return self.own[0][:, :, :, :end], self.own[1][:, :, :, :end]


class Layer:
    """Pre-norm attention and a gated feed-forward, or 32 feed-forwards (experts), of which each token uses two."""

    def __init__(self, state: State, number: int, sizes: Sizes, dtype: torch.dtype) -> None:
        d, prefix = sizes.width, f"encoder.layers.{number}."
        attention = prefix + "self_attn."
        self.norms = [state.take(f"{prefix}norm{i}.weight", (d,)).float().clone() for i in (1, 2)]
        self.q_norm, self.k_norm = (
            state.take(f"{attention}{name}_norm.weight", (HEAD,)).float().clone() for name in "qk"
        )
        qkv = [state.take(f"{attention}{name}_proj.weight", (d, d)) for name in "qkv"]
        self.qkv = torch.cat(qkv).float()
        self.out = state.take(f"{attention}out_proj.weight", (d, d)).to(torch.float32, copy=True)
        bias = state.take(f"{attention}var_attn_bias.emb.weight", (2, d // HEAD)).float()
        # Softmax ignores a bias that all keys share, so only the difference counts. With one variate it has no effect.
        self.same_variate = bias[1] - bias[0]
        self.feed = _feeds(state, prefix + "ffn.", sizes, dtype)
        self.centroids: Tensor | None = None
        self.dense: Dense | None = None

    def to(self, device: str) -> None:
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))
        self.norms = [norm.to(device) for norm in self.norms]
        self.feed = self.feed[0].to(device), self.feed[1].to(device)
        if len(self.feed[0]) > 1 and is_gpu(device):
            self.dense = Dense(list(zip(*self.feed, strict=True)))
            self.feed = self.feed[0].new_empty(0), self.feed[1].new_empty(0)  # views would keep the weights

    def project(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> list[Tensor]:
        """q, k, v of x (R, n, d), each (R, heads, n, 64); q and k are normalised and rotated."""
        rows, n, width = x.shape
        split = F.linear(_rms(x, self.norms[0]), self.qkv).view(rows, n, 3, width // HEAD, HEAD).permute(2, 0, 3, 1, 4)
        q, k = (_turn(_rms(t, w), *turn) for t, w in ((split[0], self.q_norm), (split[1], self.k_norm)))
        return [q, k, split[2]]

    def mix(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add the attention's output (R, heads, n, 64) to x (R, n, d), then add the feed-forward."""
        x = x + F.linear(attended.transpose(1, 2).reshape(x.shape), self.out)
        normed = _rms(x, self.norms[1]).flatten(0, -2)
        if self.centroids is None:
            return x + _gated(normed.to(self.feed[0].dtype), self.feed[0][0], self.feed[1][0]).view_as(x)
        # The two experts with the farthest centroids, as in uni2ts.
        distances, chosen = torch.cdist(normed, self.centroids).topk(CHOSEN)
        weights, rows = distances.softmax(-1), normed.to(self.feed[0].dtype)
        if self.dense:
            return x + self.dense(rows, spread(chosen, weights, EXPERTS)).view_as(x)
        return x + gathered(rows, chosen, weights, *self.feed).view_as(x)


class Encoder:
    """All layers. Rows are independent of each other."""

    def __init__(self, state: State, sizes: Sizes, dtype: torch.dtype, device: str) -> None:
        self.sizes = sizes
        centroids = None
        if sizes.experts:
            shape = (sizes.layers, EXPERTS, sizes.width)
            centroids = state.take("encoder.centroid", shape).float().to(device)
        self.layers = [Layer(state, number, sizes, dtype) for number in range(sizes.layers)]
        for number, layer in enumerate(self.layers):
            layer.to(device)
            layer.centroids = None if centroids is None else centroids[number]
        self.norm = state.take("encoder.norm.weight", (sizes.width,)).float().clone().to(device)

    def context(
        self, x: Tensor, ids: Ids, newest: Sequence[int], samples: int = 0, room: int = 0
    ) -> tuple[Tensor, list[Paths]]:
        """Encode whole rows, (R, N, d) float32, and return the output of some tokens of each row.

        Args:
            newest: the t tokens whose output is returned.
            samples: number of paths for which keys and values are kept; each path has room for ``room`` tokens.

        Returns:
            The output (R, t, d) and, for each layer, the keys and values that ``extend`` needs.
        """
        mask, turn = ids.mask(), _angles(ids.times[:, None])
        same = (ids.variates[:, None] == ids.variates).float()
        caches = []
        for layer in self.layers:
            q, k, v = layer.project(x, turn)
            if samples:
                caches.append(Paths(k, v, samples, room))
            look = mask
            if mask is not None and ids.several:
                bias = layer.same_variate[:, None, None] * same
                look = bias.masked_fill(~mask, float("-inf"))
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=look, is_causal=look is None)
            if layer is self.layers[-1]:  # the last layer's output of the other tokens is not used
                x, attended = x[:, newest], attended[:, :, newest]
            x = layer.mix(x, attended)
        return _rms(x, self.norm), caches

    def extend(self, x: Tensor, times: Tensor, variates: Tensor, ids: Ids, caches: list[Paths]) -> Tensor:
        """Encode one more patch of each path.

        Args:
            x: (B, S, n, d), the n tokens of the new patch: targets first, then known covariates.
            times: (B,) number of the new patch.
            variates: (n,) numbers of the tokens' variates.
            ids: the ids of the context.
            caches: the keys and values from ``context`` with S samples; each grows by n tokens.

        Returns:
            The output (B, S, n, d).
        """
        batch, samples, n, width = x.shape
        turn = _angles(times[:, None, None].expand(batch, 1, samples * n))
        hidden = ids.valid[:, None, None, None, :].logical_not() if ids.padded else None
        same = (variates[:, None] == ids.variates).float()
        x = x.reshape(batch, samples * n, width)
        for layer, paths in zip(self.layers, caches, strict=True):
            q, k, v = layer.project(x, turn)
            split = (batch, -1, samples, n, HEAD)
            keys, values = paths.grow(k.reshape(split), v.reshape(split))
            q = q / HEAD**0.5  # a power of two, so that this rounds nothing
            near = torch.matmul(q.reshape(split), keys.transpose(-1, -2))
            far = torch.matmul(q, paths.context[0].transpose(-1, -2))
            far = far.view(batch, -1, samples, n, far.shape[-1])
            if ids.several:
                own = variates.repeat(keys.shape[3] // n)
                near.add_(layer.same_variate[:, None, None, None] * (variates[:, None] == own))
                far.add_(layer.same_variate[:, None, None, None] * same)
            if hidden is not None:
                far.masked_fill_(hidden, float("-inf"))
            weights = torch.cat([far, near], -1).softmax(-1)
            far, near = weights[..., : far.shape[-1]], weights[..., far.shape[-1] :]
            attended = torch.matmul(far.reshape(batch, -1, samples * n, far.shape[-1]), paths.context[1])
            x = layer.mix(x, attended + torch.matmul(near, values).view_as(attended))
        return _rms(x, self.norm).view(batch, samples, n, width)


def _rms(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, weight.shape, weight, 1e-5)


def _angles(times: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines, (..., 16) for times (...). Pairs of adjacent channels rotate together."""
    theta = THETA ** (-torch.arange(0, ROTATED, 2, dtype=torch.float32, device=times.device) / ROTATED)
    angle = times[..., None].float() * theta
    return angle.cos(), angle.sin()


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x[..., 0:ROTATED:2], x[..., 1:ROTATED:2]
    turned = torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
    return torch.cat([turned, x[..., ROTATED:]], -1)


def _feeds(state: State, prefix: str, sizes: Sizes, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Gate stacked on up, (E, 2 * inner, d), and down, (E, d, inner), copied once from the mapped file."""
    d, inner = sizes.width, sizes.inner
    names = [f"{prefix}experts.{e}." for e in range(EXPERTS)] if sizes.experts else [prefix]
    into = torch.empty(len(names), 2 * inner, d, dtype=dtype)
    down = torch.empty(len(names), d, inner, dtype=dtype)
    for e, name in enumerate(names):
        into[e, :inner] = state.take(f"{name}fc_gate.weight", (inner, d))
        into[e, inner:] = state.take(f"{name}fc1.weight", (inner, d))
        down[e] = state.take(f"{name}fc2.weight", (d, inner))
    return into, down


def _gated(x: Tensor, into: Tensor, down: Tensor) -> Tensor:
    gate, up = F.linear(x, into).chunk(2, -1)
    return F.linear(F.silu(gate) * up, down).float()
