"""Layers of Toto 2.0: attention over time, attention over variates, and a gated feed-forward, with unit scaling.

Written from toto-2 2.0.0 (``toto2.model``) and the rules of dd-unit-scaling 0.1.0 and unit-scaling 0.3.5; reads its
tensor names. All factors of unit scaling are folded into the weights.

Shapes: B series, in groups of V that see one another, T tokens, D channels, H heads, K channels of a head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.nets.product import Product, product
from tsfm.weights.configuration import Config

Take = Callable[[str, Sequence[int]], Tensor]  # returns the tensor with this name and checks its shape
Turn = tuple[Tensor, Tensor]  # cosines and sines

THETA, DISTANCE = 10_000.0, 256  # of the rotation, and of xPos: the distance at which a channel decays to its base
SILU = math.exp(0.2 * math.log(2) + 0.8 * math.log(math.sqrt(2 / (1 - 1 / math.pi))))  # its scale in unit scaling
ONLY: dict[str, object] = {
    **{"num_output_patches": 1, "num_variate_layers_per_group": 1, "dropout_p": 0.0},
    **{"norm_include_weight": False, "qk_norm_include_weight": False, "pre_norm": True},
}


@dataclass(frozen=True)
class Sizes:
    """Sizes of the network, read from config.json.

    Attributes:
        group: layers up to and with one that attends over variates, the last of them, or the first.
        scaled: queries have a learned scale for each channel.
        xpos: attention decays with distance.
    """

    patch: int
    width: int
    heads: int
    layers: int
    group: int
    first: bool
    inner: int
    head: int
    epsilon: float
    attention_bias: bool
    feed_bias: bool
    scaled: bool
    xpos: bool

    @classmethod
    def read(cls, config: Config) -> Sizes:
        """Read the sizes: keys of ``Toto2ModelConfig``.

        Raises:
            ConfigError: config.json is not a configuration of this network.
        """
        width, heads = config.whole("d_model"), config.whole("num_heads")
        head = config.whole("qk_dim", width // heads)
        config.only(ONLY | {"num_groups": heads, "heads_per_group": 1, "v_dim": head})
        if config.flag("qk_norm", True):
            raise config.refused("qk_norm", "false")
        return cls(
            patch=config.whole("patch_size"),
            width=width,
            heads=heads,
            layers=config.whole("num_layers"),
            group=config.whole("layer_group_size"),
            first=config.flag("variate_layer_first", False),
            inner=config.whole("d_ff", (int(4 * width * 2 / 3) + 7) // 8 * 8),
            head=head,
            epsilon=config.number("norm_eps", 5e-5),
            attention_bias=config.flag("attn_bias", False),
            feed_bias=config.flag("mlp_bias", False),
            scaled=config.flag("per_dim_scale", False),
            xpos=config.flag("use_xpos", False),
        )

    def over_variates(self, layer: int) -> bool:
        """Whether the layer attends over variates, and not over time."""
        return layer % self.group == (0 if self.first else self.group - 1)


class Weights:
    """Takes products out of a checkpoint, with their factors folded into them."""

    def __init__(self, take: Take, dtype: torch.dtype) -> None:
        self.take, self._dtype = take, dtype

    def linear(self, name: str, inner: int, outer: int, bias: bool, factor: float) -> tuple[Tensor, Tensor | None]:
        weight = self.take(f"{name}.weight", (outer, inner)).float() * factor
        return weight, self.take(f"{name}.bias", (outer,)).float() * factor if bias else None

    def product(self, weight: Tensor, bias: Tensor | None) -> Product:
        multiply = product(weight.to(self._dtype), None if bias is None else bias.to(self._dtype))
        return lambda x: multiply(x.to(self._dtype).flatten(0, -2)).view(*x.shape[:-1], -1)

    def block(self, name: str, inner: int, hidden: int, outer: int, readout: bool) -> Callable[[Tensor], Tensor]:
        """A ``ResidualMLP``: two products beside one, both of the same weight; float32."""
        power, half = 1.0 if readout else 0.5, 0.5**0.5
        one = self.linear(f"{name}.linear1", inner, hidden, True, inner**-0.5)
        two = self.linear(f"{name}.linear2", hidden, outer, True, hidden**-power * half)
        beside = self.linear(f"{name}.skip_proj", inner, outer, True, inner**-power * half)
        # What is scaled behind the activation is scaled in front of the second product.
        second = product(two[0] * SILU, two[1])
        first, skip = product(*one), product(*beside)
        return lambda x: second(F.silu(first(x))).add_(skip(x))


@dataclass(frozen=True)
class Places:
    """Where the tokens of a batch stand.

    Attributes:
        turns: of queries and of keys, in time.
        earlier: shape (B, 1, T, T), the tokens of its series that a token may attend to.
        seen: shape (B, T), tokens with an observed point, and those ahead.
        group: number of series that see one another.
    """

    turns: tuple[Turn, Turn]
    earlier: Tensor
    seen: Tensor
    group: int

    @classmethod
    def of(cls, seen: Tensor, group: int, sizes: Sizes) -> Places:
        tokens = seen.shape[1]
        causal = torch.ones(tokens, tokens, dtype=torch.bool, device=seen.device).tril()
        return cls(_turns(tokens, sizes, seen.device), _or_itself(causal & seen[:, None])[:, None], seen, group)

    def variates(self, newest: int) -> Tensor:
        """The variates of its group that one may attend to, at each of the newest tokens: (B / V * T, 1, V, V)."""
        seen = torch.unflatten(self.seen[:, -newest:], 0, (-1, self.group)).transpose(1, 2).flatten(0, 1)
        return _or_itself(seen[:, None].expand(-1, self.group, -1))[:, None]


class OverTime:
    """Attention of the newest tokens of a series to those before them."""

    def __init__(self, weights: Weights, at: str, sizes: Sizes) -> None:
        self._sizes = sizes
        self._into = weights.product(*_compared_and_taken(weights, at, sizes))

    def __call__(self, x: Tensor, places: Places, newest: int) -> Tensor:
        made = self._into(x).float()
        split = made.view(*made.shape[:2], 3, self._sizes.heads, -1).permute(2, 0, 3, 1, 4)
        query, key = (_turned(part, turn) for part, turn in zip(split[:2], places.turns, strict=True))
        query, mask = query[:, :, -newest:], places.earlier[:, :, -newest:]
        return _attended(query, key, split[2], mask).transpose(1, 2).flatten(2)


class OverVariates:
    """Attention of each of the newest tokens to those of its group; that of a series alone is its value."""

    def __init__(self, weights: Weights, at: str, sizes: Sizes) -> None:
        self._sizes = sizes
        rows, shift = _compared_and_taken(weights, at, sizes)
        compared = 2 * sizes.heads * sizes.head
        self._compared = weights.product(rows[:compared], None if shift is None else shift[:compared])
        self._value = weights.product(rows[compared:], None if shift is None else shift[compared:])

    def __call__(self, x: Tensor, places: Places, newest: int) -> Tensor:
        x = x[:, -newest:]
        value = self._value(x)
        if places.group == 1:
            return value
        made = torch.cat((self._compared(x), value), -1).float()
        made = made.view(-1, places.group, newest, 3, self._sizes.heads, self._sizes.head)
        query, key, value = made.permute(3, 0, 2, 4, 1, 5).flatten(1, 2)
        mixed = _attended(query, key, value, places.variates(newest))
        return torch.unflatten(mixed, 0, (-1, newest)).permute(0, 3, 1, 2, 4).flatten(3).flatten(0, 1)


class Layer:
    """Attention over time, or over variates, and a gated feed-forward; both beside a residual of unit scale."""

    def __init__(self, weights: Weights, number: int, sizes: Sizes) -> None:
        self._sizes = sizes
        at, width, inner = f"transformer.layers.{number}", sizes.width, sizes.heads * sizes.head
        kind: type[OverVariates | OverTime] = OverVariates if sizes.over_variates(number) else OverTime
        self._attention = kind(weights, f"{at}.attn", sizes)
        tau, feed_tau = (float(weights.take(f"{at}.{name}_tau", ())) for name in ("attn", "mlp"))
        self._residual_gain, self._feed_residual_gain = (1 + tau**2) ** -0.5, (1 + feed_tau**2) ** -0.5
        factor = inner**-0.5 * tau * self._residual_gain
        self._out = weights.product(*weights.linear(f"{at}.attn.out_proj", inner, width, sizes.attention_bias, factor))
        up = weights.linear(f"{at}.ffn.fc1", width, 2 * sizes.inner, sizes.feed_bias, width**-0.5)
        factor = sizes.inner**-0.5 * feed_tau * self._feed_residual_gain
        self._up = weights.product(*up)
        self._down = weights.product(*weights.linear(f"{at}.ffn.fc2", sizes.inner, width, sizes.feed_bias, factor))

    def __call__(self, x: Tensor, places: Places, newest: int) -> Tensor:
        """The layer's output for the newest tokens; ``x``, shape (B, T, D), may be changed."""
        attended = self._attention(self._normed(x), places, newest)
        x = self._out(attended).float().add_(x[:, -newest:], alpha=self._residual_gain)
        gate, up = self._up(self._normed(x)).chunk(2, -1)
        return self._down(F.silu(up).mul_(gate)).float().add_(x, alpha=self._feed_residual_gain)

    def _normed(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], None, self._sizes.epsilon)


def _compared_and_taken(weights: Weights, at: str, sizes: Sizes) -> tuple[Tensor, Tensor | None]:
    """Rows of ``in_proj`` and their bias: queries with their scale, keys, values; pairs of channels that turn apart."""
    inner, half = sizes.heads * sizes.head, sizes.head // 2
    rows, shift = weights.linear(f"{at}.in_proj", sizes.width, 3 * inner, sizes.attention_bias, sizes.width**-0.5)
    scale = torch.ones(3 * inner, device=rows.device)
    if sizes.scaled:
        learned = weights.take(f"{at}._pds.per_dim_scale", (sizes.head,)).float()
        scale[:inner] = (F.softplus(learned) / math.log(2)).repeat(sizes.heads)
    turned, taken = torch.split(torch.arange(3 * inner).view(3, -1, sizes.head), [2, 1])
    turned = torch.cat((turned[..., :half:2], turned[..., 1:half:2], turned[..., half:]), -1)
    order = torch.cat((turned, taken)).flatten()
    return (rows * scale[:, None])[order], None if shift is None else (shift * scale)[order]


def _attended(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1 / query.shape[-1])


def _or_itself(mask: Tensor) -> Tensor:
    """The mask, shape (..., n, n), and its diagonal: what sees nothing else attends to itself."""
    return mask | torch.eye(mask.shape[-1], dtype=torch.bool, device=mask.device)


def _turns(tokens: int, sizes: Sizes, device: torch.device) -> tuple[Turn, Turn]:
    """Cosines and sines for queries and keys, (T, quarter of K) each; with xPos they decay with distance."""
    positions = torch.arange(tokens, dtype=torch.float32, device=device)[:, None]
    width = sizes.head // 2
    channels = torch.arange(0, width, 2, dtype=torch.float32, device=device)
    angles = positions * THETA ** (-channels / width)
    decay = torch.ones_like(angles)
    if sizes.xpos:
        decay = ((channels + 0.4 * width) / (1.4 * width)) ** ((positions - tokens // 2) / DISTANCE)
    cosines, sines = angles.cos(), angles.sin()
    return (cosines * decay, sines * decay), (cosines / decay, sines / decay)


def _turned(heads: Tensor, turn: Turn) -> Tensor:
    """Heads, (B, H, T, K), the first half of whose channels is turned: its first half against its second."""
    cosines, sines = turn
    quarter = cosines.shape[-1]
    first, second, rest = torch.split(heads, [quarter, quarter, heads.shape[-1] - 2 * quarter], -1)
    return torch.cat((first * cosines - second * sines, second * cosines + first * sines, rest), -1)
