"""The parts that Chronos-Bolt and Chronos-2 share: normalisation, patching and T5-like layers.

Written from upstream ``chronos.chronos_bolt`` (InstanceNorm, Patch, ResidualBlock), ``chronos.chronos2.layers``
and transformers' T5. Large products run in the given dtype. Norms, residuals, attention scores and the quantile
head run in float32.

Shapes: B rows, T tokens, D channels, H heads, K channels of a head, P points of a patch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.nets import int8
from tsfm.nets.feed import feed
from tsfm.nets.product import Product, add, large, product
from tsfm.nets.t5 import ACTIVATIONS, T5Sizes
from tsfm.weights.configuration import Config

Take = Callable[[str, Sequence[int]], Tensor]  # returns the tensor with this name and checks its shape

HIDDEN = torch.finfo(torch.float32).min  # added to the score of a token that must not be attended to


@dataclass(frozen=True)
class Sizes(T5Sizes):
    """The sizes that the config.json of both networks has."""

    patch: int
    context: int
    quantiles: tuple[float, ...]

    @classmethod
    def common(cls, config: Config) -> dict[str, object]:
        """The fields above and those of ``T5Sizes.common``; raises the same errors."""
        own = config.section("chronos_config")
        patch = own.whole("input_patch_size")
        if own.whole("input_patch_stride") != patch:
            raise own.refused("input_patch_stride", f"input_patch_size, {patch}: patches that overlap are not served,")
        if not own.flag("use_reg_token", False):
            raise own.refused("use_reg_token", "true: networks without [REG] token are not served,")
        rest = {"patch": patch, "context": own.whole("context_length"), "quantiles": own.levels("quantiles")}
        return super().common(config) | rest


def owned(tensor: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Copy a tensor out of the mapped file: with no reference to the file left, none of it stays in memory."""
    return tensor.to(dtype, copy=True)


class Norm:
    """T5's norm, which subtracts no mean and adds no bias."""

    def __init__(self, take: Take, name: str, sizes: Sizes) -> None:
        self.parts: int8.Norm = owned(take(f"{name}.weight", (sizes.width,))), sizes.epsilon

    def __call__(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], *self.parts)


@dataclass(frozen=True)
class Weights:
    """The weights of an attention, as they are in the checkpoint."""

    qkv: Sequence[Tensor]
    o: Tensor

    @classmethod
    def taken(cls, take: Take, layer: str, part: str, sizes: Sizes) -> Weights:
        inner, width = sizes.heads * sizes.head_width, sizes.width
        qkv = [take(f"{layer}.{part}.{which}.weight", (inner, width)) for which in "qkv"]
        return cls(qkv, take(f"{layer}.{part}.o.weight", (width, inner)))


class SelfAttention:
    """x + o(attention(q, k, v of norm(x))), unscaled as in T5. One product computes q, k and v."""

    def __init__(self, weights: Weights, take: Take, layer: str, sizes: Sizes, dtype: torch.dtype) -> None:
        self._norm = Norm(take, f"{layer}.layer_norm", sizes)
        self._qkv, self._o = large(torch.cat(list(weights.qkv)), dtype, self._norm.parts), large(weights.o, dtype)
        self._dtype = int8.given(dtype)
        self._heads = sizes.heads

    @classmethod
    def taken(cls, take: Take, layer: str, part: str, sizes: Sizes, dtype: torch.dtype) -> SelfAttention:
        return cls(Weights.taken(take, layer, part, sizes), take, layer, sizes, dtype)

    def __call__(self, x: Tensor, mask: Tensor | None, turn: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Add the attention's output to ``x`` in place.

        Args:
            x: shape (B, T, D).
            mask: added to the scores, broadcast to (B, H, T, T); None if every token attends to all tokens.
            turn: applied to queries and keys together, shape (2, B, H, T, K).
        """
        rows, tokens = x.shape[:2]
        qkv = self._qkv(x).float().view(rows, tokens, 3, self._heads, -1)
        qkv = qkv.permute(2, 0, 3, 1, 4)
        q, k = turn(qkv[:2]) if turn else qkv[:2]
        attended = F.scaled_dot_product_attention(q, k, qkv[2], attn_mask=mask, scale=1.0)
        return add(x, self._o, attended.transpose(1, 2).flatten(2).to(self._dtype))


class Feed:
    """x + wo(act(wi(norm(x)))); with a gate, x + wo(act(wi_0(norm(x))) * wi_1(norm(x)))."""

    def __init__(self, take: Take, layer: str, part: str, sizes: Sizes, dtype: torch.dtype) -> None:
        names = ("wi_0", "wi_1") if sizes.gated else ("wi",)
        into = [take(f"{layer}.{part}.{name}.weight", (sizes.hidden, sizes.width)) for name in names]
        wo = take(f"{layer}.{part}.wo.weight", (sizes.width, sizes.hidden))
        norm = Norm(take, f"{layer}.layer_norm", sizes).parts
        self._block = feed(torch.cat(into), wo, sizes.act, dtype, sizes.gated, norm=norm)

    def __call__(self, x: Tensor) -> Tensor:
        return add(x, self._block, x)


class Residual:
    """out(act(hidden(x))) + residual(x); ``out`` runs in ``dtype``.

    It converts patches to tokens, and tokens to quantiles.
    """

    def __init__(
        self, take: Take, name: str, wide: int, out: int, sizes: Sizes, dtype: torch.dtype = torch.float32
    ) -> None:
        self._dtype, hidden = dtype, sizes.hidden
        self._act = ACTIVATIONS[sizes.act]
        self._hidden = _affine(take, f"{name}.hidden_layer", hidden, wide)
        self._out = _affine(take, f"{name}.output_layer", out, hidden, dtype)
        self._skip = _affine(take, f"{name}.residual_layer", out, wide)

    def __call__(self, x: Tensor) -> Tensor:
        hidden = self._act(self._hidden(x)).to(self._dtype)
        return self._skip(x).add_(self._out(hidden))


def _affine(take: Take, name: str, out: int, wide: int, dtype: torch.dtype = torch.float32) -> Product:
    return product(take(f"{name}.weight", (out, wide)), take(f"{name}.bias", (out,)), dtype)


@dataclass(frozen=True)
class Patched:
    """A normalised context in patches.

    Attributes:
        values: shape (B, T, P), zero at unobserved points.
        observed: shape (B, T, P), 1.0 or 0.0.
        loc, scale: shape (B, 1); a point x of the context was normalised to (x - loc) / scale.
    """

    values: Tensor
    observed: Tensor
    loc: Tensor
    scale: Tensor

    @property
    def hidden(self) -> Tensor:
        """Mask to add to the scores, shape (B, T): a patch without any observed point gets no attention."""
        return (self.observed.amax(-1) - 1).mul_(-HIDDEN)


def patched(context: Tensor, size: int, arcsinh: bool) -> Patched:
    """Normalise by mean and standard deviation of the observed points, then cut patches that end at the newest point.

    Args:
        context: shape (B, points), float32, NaN at unobserved points.
    """
    loc = context.nanmean(-1, keepdim=True).nan_to_num_(0.0)
    scale = (context - loc).square_().nanmean(-1, keepdim=True).sqrt_().nan_to_num_(1.0)
    scale = torch.where(scale == 0, 1e-5, scale)
    values = (context - loc) / scale
    values = torch.unflatten(F.pad(values, (-context.shape[-1] % size, 0), value=torch.nan), -1, (-1, size))
    observed = values.isnan().logical_not_()
    values = (values.arcsinh_() if arcsinh else values).nan_to_num_(0.0)
    return Patched(values, observed.float(), loc, scale)
