"""The network of Toto 2.0: causal attention over patches of time, and attention over variates, with unit scaling.

Written from toto-2 2.0.0 (``toto2.model``) and the rules of dd-unit-scaling 0.1.0 and unit-scaling 0.3.5; reads its
tensor names. All factors of unit scaling are folded into the weights. Each series stands alone here, so the attention
of a variate layer, over one token, is its value. The last token that the package computes has no reader and is left
out, and in the last layer only the tokens that forecast are.

Shapes: B series, T tokens, D channels, H heads, K channels of a head, P points of a patch.
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

QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
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


class Layer:
    """Attention over time, or the value alone, and a gated feed-forward; both beside a residual of unit scale."""

    def __init__(self, weights: Weights, at: str, sizes: Sizes, alone: bool) -> None:
        self._sizes, self._alone = sizes, alone
        width, inner = sizes.width, sizes.heads * sizes.head
        into, shift = weights.linear(f"{at}.attn.in_proj", width, 3 * inner, sizes.attention_bias, width**-0.5)
        scale = torch.ones(sizes.head, device=into.device)
        if sizes.scaled:
            scale = F.softplus(weights.take(f"{at}.attn._pds.per_dim_scale", (sizes.head,)).float()) / math.log(2)
        shift = None if shift is None else _arranged(shift, sizes, scale, alone)
        self._into = weights.product(_arranged(into, sizes, scale, alone), shift)
        tau, feed_tau = (float(weights.take(f"{at}.{name}_tau", ())) for name in ("attn", "mlp"))
        self._residual_gain, self._feed_residual_gain = (1 + tau**2) ** -0.5, (1 + feed_tau**2) ** -0.5
        factor = inner**-0.5 * tau * self._residual_gain
        self._out = weights.product(*weights.linear(f"{at}.attn.out_proj", inner, width, sizes.attention_bias, factor))
        up = weights.linear(f"{at}.ffn.fc1", width, 2 * sizes.inner, sizes.feed_bias, width**-0.5)
        factor = sizes.inner**-0.5 * feed_tau * self._feed_residual_gain
        self._up = weights.product(*up)
        self._down = weights.product(*weights.linear(f"{at}.ffn.fc2", sizes.inner, width, sizes.feed_bias, factor))

    def __call__(self, x: Tensor, turns: tuple[Turn, Turn], mask: Tensor, newest: int) -> Tensor:
        """The layer's output for the newest tokens.

        Args:
            x: shape (B, T, D); it may be changed.
            turns: of queries and of keys.
            mask: shape (B, 1, T, T), where a token may attend.
        """
        made = self._into(self._normed(x))
        x = x[:, -newest:]
        attended = made[:, -newest:] if self._alone else self._attended(made.float(), turns, mask, newest)
        x = self._out(attended).float().add_(x, alpha=self._residual_gain)
        gate, up = self._up(self._normed(x)).chunk(2, -1)
        return self._down(F.silu(up).mul_(gate)).float().add_(x, alpha=self._feed_residual_gain)

    def _normed(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], None, self._sizes.epsilon)

    def _attended(self, made: Tensor, turns: tuple[Turn, Turn], mask: Tensor, newest: int) -> Tensor:
        split = made.view(*made.shape[:2], 3, self._sizes.heads, -1).permute(2, 0, 3, 1, 4)
        query, key = (_turned(part, turn) for part, turn in zip(split[:2], turns, strict=True))
        query, mask = query[:, :, -newest:], mask[:, :, -newest:]
        mixed = F.scaled_dot_product_attention(query, key, split[2], attn_mask=mask, scale=1 / self._sizes.head)
        return mixed.transpose(1, 2).flatten(2)


class Toto:
    """The network: takes patches of many series, returns quantiles of the patches that follow."""

    def __init__(self, sizes: Sizes, take: Take, dtype: torch.dtype) -> None:
        self.sizes = sizes
        weights = Weights(take, dtype)
        self._embed = weights.block("patch_proj", 2 * sizes.patch, 4 * sizes.width, sizes.width, False)
        self._layers = [
            Layer(weights, f"transformer.layers.{i}", sizes, sizes.over_variates(i)) for i in range(sizes.layers)
        ]
        outputs = len(QUANTILES) * sizes.patch
        name = "output_head.param_projection.proj"
        self._head = weights.block(name, sizes.width, 4 * sizes.width, outputs, True)

    @torch.inference_mode()
    def forecast(self, values: Tensor, observed: Tensor, ahead: int) -> Tensor:
        """Quantiles of the next ``ahead`` patches, in the scale of the input before ``asinh``.

        Args:
            values: shape (B, T, P), float32, normalised, 0 where not observed.
            observed: shape (B, T, P), bool; the last patch of each series holds an observed point.

        Returns:
            shape (B, Q, ahead * P), float32; quantiles may cross.
        """
        inputs = torch.cat((values.asinh(), observed.logical_not().float()), -1)
        # Every patch ahead looks alike: nothing of it is observed.
        unknown = torch.zeros_like(inputs[:1, :1])
        unknown[..., self.sizes.patch :] = 1
        x = torch.cat((self._embed(inputs), self._embed(unknown).expand(len(inputs), ahead - 1, -1)), 1)
        mask = _mask(F.pad(observed.any(-1), (0, ahead - 1), value=True))
        turns = _turns(x.shape[1], self.sizes, x.device)
        for layer in self._layers:
            x = layer(x, turns, mask, ahead if layer is self._layers[-1] else x.shape[1])
        made = self._head(F.rms_norm(x, x.shape[-1:], None, self.sizes.epsilon))
        return torch.unflatten(made, -1, (self.sizes.patch, -1)).sinh_().permute(0, 3, 1, 2).flatten(2)


def _arranged(x: Tensor, sizes: Sizes, scale: Tensor, alone: bool) -> Tensor:
    """Rows of ``in_proj``: the values alone; or queries with their scale, keys and values, pairs that turn apart."""
    split = x.view(3, sizes.heads, sizes.head, *x.shape[1:])
    if alone:
        return split[2].flatten(0, 1)
    turning = torch.arange(sizes.head // 2).view(-1, 2).t().flatten()
    order = torch.cat((turning, torch.arange(sizes.head // 2, sizes.head)))
    query = split[:1] * scale.view(-1, *[1] * (x.ndim - 1))
    return torch.cat((torch.cat((query, split[1:2]))[:, :, order], split[2:])).flatten(0, 2)


def _mask(valid: Tensor) -> Tensor:
    """Where a token may attend: to earlier ones with an observed point, (B, T) to (B, 1, T, T); always to itself."""
    tokens = valid.shape[1]
    causal = torch.ones(tokens, tokens, dtype=torch.bool, device=valid.device).tril()
    return (causal & valid[:, None] | torch.eye(tokens, dtype=torch.bool, device=valid.device))[:, None]


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
