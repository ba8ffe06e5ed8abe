"""The network of Time-MoE over packed series. Its numbers equal the official ones up to rounding.

Source: Shi et al., Time-MoE (ICLR 2025), and ``TimeMoeForPrediction`` as published with the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.nets import int8
from tsfm.nets.decoder import Angles, Cache, Rotary, Span, attend, last, positions, turned
from tsfm.nets.devices import is_gpu, moved, portion
from tsfm.nets.mixture import Dense, spread
from tsfm.nets.parallel import each
from tsfm.nets.product import Product, product
from tsfm.weights.reader import State

Blocks = Sequence[tuple[Tensor, Tensor]]  # gate stacked on up, and down, of each expert; the last is the shared one
Mix = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
FFN_ROWS = 1024  # tokens at once: with more tokens, the wide hidden layer no longer fits in the second-level cache


@dataclass(frozen=True)
class Shape:
    """The fields of the checkpoint's config.json that define the network, with their official names."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_experts: int
    num_experts_per_tok: int
    max_position_embeddings: int
    rope_theta: float
    rms_norm_eps: float
    horizon_lengths: tuple[int, ...]

    @property
    def head_width(self) -> int:
        return self.hidden_size // self.num_attention_heads


class Network:
    """All layers. Weights and products are in ``dtype``, the sum of the layers is in float32.

    With int8 what is between the products, and so the cache, is in ``int8.between``.
    """

    def __init__(self, shape: Shape, state: State, dtype: torch.dtype, device: str) -> None:
        self.shape, self.dtype, self.device = shape, int8.between(dtype), device
        hidden = shape.hidden_size
        embed = [state.take(f"model.embed_layer.{part}_layer.weight", (hidden, 1)) for part in ("gate", "emb")]
        self._gate, self._emb = (w.to(device, torch.float32).flatten() for w in embed)
        self._layers = [Layer(shape, state, f"model.layers.{i}", dtype, device) for i in range(shape.num_hidden_layers)]
        self._norm = state.take("model.norm.weight", (hidden,)).to(device, torch.float32)
        self._heads = {
            horizon: state.take(f"lm_heads.{i}.out_layer.weight", (horizon, hidden)).to(device, torch.float32)
            for i, horizon in enumerate(shape.horizon_lengths)
        }
        self._rotary = Rotary(shape.head_width, shape.max_position_embeddings, shape.rope_theta, self.dtype, device)

    def cache(self, series: int, capacity: int) -> Cache:
        """An empty cache for ``series`` series of at most ``capacity`` points."""
        shape = self.shape
        store = torch.empty(0, dtype=self.dtype, device=self.device)
        return Cache(shape.num_hidden_layers, series, shape.num_attention_heads, capacity, shape.head_width, store)

    def hidden(self, values: Tensor, packed: Sequence[Span], everywhere: bool = False) -> Tensor:
        """Run new points through all layers and add them to the caches.

        Args:
            values: shape (tokens,), float32, normalised; the series are packed one after the other.
            packed: which of these tokens belong to which series.
            everywhere: return all tokens. Otherwise return only each series' last token, which the forecast needs.

        Returns:
            shape (series, hidden), or (tokens, hidden) with ``everywhere``; float32.
        """
        column = moved(values, self.device)[:, None]
        stream = F.silu(column * self._gate) * (column * self._emb)
        angles = self._rotary.at(moved(positions(packed), self.device))
        ends = None if everywhere else moved(torch.tensor(last(packed)), self.device)
        for index, layer in enumerate(self._layers):
            is_last = index == len(self._layers) - 1
            stream = layer(stream, index, packed, angles, ends if is_last else None)
        for span in packed:
            span.cache.length += span.new
        return F.rms_norm(stream, self._norm.shape, self._norm, self.shape.rms_norm_eps)

    def head(self, hidden: Tensor, horizon: int) -> Tensor:
        """Forecasts of ``horizon`` points after each row of ``hidden``, (..., hidden) to (..., horizon)."""
        return F.linear(hidden, self._heads[horizon])


class Layer:
    """Attention, then a shared expert and the best few of many experts. A norm comes before each of the two parts."""

    def __init__(self, shape: Shape, state: State, name: str, dtype: torch.dtype, device: str) -> None:
        self._shape, self._dtype, hidden = shape, int8.given(dtype), shape.hidden_size
        self._norms = [
            state.take(f"{name}.{norm}_layernorm.weight", (hidden,)).to(device, torch.float32)
            for norm in ("input", "post_attention")
        ]

        def attention(part: str) -> Tensor:
            return state.take(f"{name}.self_attn.{part}_proj.weight", (hidden, hidden)).to(device)

        def bias(part: str) -> Tensor:
            return state.take(f"{name}.self_attn.{part}_proj.bias", (hidden,)).to(device)

        self._query = product(attention("q"), bias("q"), dtype)
        self._both = product(torch.cat([attention("k"), attention("v")]), torch.cat([bias("k"), bias("v")]), dtype)
        self._out = product(attention("o"), None, dtype)
        self._experts = Experts(shape, state, f"{name}.ffn_layer", dtype, device)

    def __call__(
        self,
        stream: Tensor,
        index: int,
        packed: Sequence[Span],
        angles: Angles,
        ends: Tensor | None,
    ) -> Tensor:
        """The stream (tokens, hidden) after this layer; only its rows ``ends`` if given."""
        shape = self._shape
        heads = (-1, shape.num_attention_heads, shape.head_width)
        x = self._normed(stream, 0).to(self._dtype)
        key, value = self._both(x).view(-1, 2, *heads[1:]).unbind(1)
        key = turned(key, angles)
        if ends is not None:
            stream, x, angles = stream[ends], x[ends], (angles[0][ends], angles[1][ends])
        query = turned(self._query(x).view(heads), angles)
        attended = attend(query, key, value, index, packed)
        stream = stream + self._out(attended)
        rows = torch.split(self._normed(stream, 1), portion(FFN_ROWS, stream.device))
        return stream + torch.cat(each(self._experts, rows))

    def _normed(self, stream: Tensor, which: int) -> Tensor:
        weight = self._norms[which]
        return F.rms_norm(stream, weight.shape, weight, self._shape.rms_norm_eps)


class Experts:
    """The mixture: each token uses its best experts, weighted by the router, and the shared expert."""

    def __init__(self, shape: Shape, state: State, name: str, dtype: torch.dtype, device: str) -> None:
        hidden, count, self._best = shape.hidden_size, shape.num_experts, shape.num_experts_per_tok
        width = shape.intermediate_size // self._best
        given = int8.given(dtype)

        def take(part: str, *size: int) -> Tensor:
            return state.take(f"{name}.{part}.weight", size).to(device, given)

        def block(part: str, inner: int) -> tuple[Tensor, Tensor]:
            gate, up = (take(f"{part}.{half}_proj", inner, hidden) for half in ("gate", "up"))
            return torch.cat([gate, up]), take(f"{part}.down_proj", hidden, inner)

        # The choice of experts is not continuous: rounding must not change it, so the router is float32.
        self._router = take("gate", count, hidden).float()
        self._shared_gate = take("shared_expert_gate", 1, hidden)
        blocks = [
            *(block(f"experts.{e}", width) for e in range(count)),
            block("shared_expert", shape.intermediate_size),
        ]
        self._mix = _mixture(blocks, dtype, self._best)

    def __call__(self, x: Tensor) -> Tensor:
        """From shape (tokens, hidden), float32, to the same shape."""
        chance, expert = F.softmax(F.linear(x, self._router), -1).topk(self._best, -1)
        x = x.to(self._shared_gate.dtype)
        return self._mix(x, expert, chance, torch.sigmoid(F.linear(x, self._shared_gate)).float())


def _mixture(blocks: Blocks, dtype: torch.dtype, best: int) -> Mix:
    if dtype == torch.int8:
        return int8.Mixture(blocks, "silu", shared=True)
    return Everything(blocks, best) if is_gpu(blocks[0][0].device) else Mixture(blocks)


class Everything:
    """As ``Mixture``, on a GPU: see ``nets.mixture``."""

    def __init__(self, blocks: Blocks, best: int) -> None:
        *experts, (into, down) = blocks
        # The shared expert is as wide as ``best`` others: cut into as many, it is one of their kind.
        gates, ups = (half.chunk(best) for half in into.chunk(2))
        shared = zip(gates, ups, down.chunk(best, 1), strict=True)
        self._experts, self._shared = len(experts), best
        self._dense = Dense([*experts, *((torch.cat([gate, up]), part) for gate, up, part in shared)])

    def __call__(self, x: Tensor, chosen: Tensor, chances: Tensor, shared: Tensor) -> Tensor:
        weights = spread(chosen, chances, self._experts)
        return self._dense(x, torch.cat([weights, shared.expand(-1, self._shared)], 1))


class Mixture:
    """As ``int8.Mixture``, in the dtype of the weights."""

    def __init__(self, blocks: Blocks) -> None:
        *self._experts, self._shared = [Gated(product(up), product(down)) for up, down in blocks]

    def __call__(self, x: Tensor, chosen: Tensor, chances: Tensor, shared: Tensor) -> Tensor:
        order = chosen.flatten().argsort()
        counts = torch.bincount(chosen.flatten(), minlength=len(self._experts)).tolist()
        # Rows are sorted by expert: each expert is one product over adjacent rows.
        parts = zip(self._experts, torch.split(x[order // chosen.shape[1]], counts), strict=True)
        done = torch.cat(each(lambda pair: pair[0](pair[1]), [(e, part) for e, part in parts if len(part)]))
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=x.device)
        # The sum is float32: rounding here changes which experts the next layers choose.
        mixed = (done[back].view(*chosen.shape, -1) * chances[..., None]).sum(1)
        return mixed.addcmul_(shared, self._shared(x).float())


class Gated:
    """A feed-forward block: one half of its hidden layer gates the other half."""

    def __init__(self, up: Product, down: Product) -> None:
        self._up, self._down = up, down

    def __call__(self, x: Tensor) -> Tensor:
        """From shape (rows, hidden) to the same shape."""
        gate, value = self._up(x).chunk(2, -1)
        return self._down(F.silu(gate).mul_(value))
