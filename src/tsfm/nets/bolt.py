"""Chronos-Bolt: a T5 encoder over patches and a decoder of a single token that returns all quantiles at once.

The numbers equal those of upstream's ``chronos.chronos_bolt.ChronosBoltModelForForecasting``, with less work.
The decoder's single token attends only to itself, so its self-attention is one product with weights that were
multiplied in advance. The cross-attention applies the key's weights to the query and the value's weights to the
weighted sum of the encoder's tokens, instead of applying both to every token of the encoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.nets import int8
from tsfm.nets.patches import Feed, Norm, Residual, SelfAttention, Sizes, Take, Weights, owned, patched
from tsfm.nets.product import add, large
from tsfm.weights.configuration import Config

KEYS = (
    *("context_length", "prediction_length", "input_patch_size", "input_patch_stride"),
    *("quantiles", "use_reg_token"),
)


@dataclass(frozen=True)
class BoltSizes(Sizes):
    """Sizes of a Chronos-Bolt, read from its config.json."""

    decoder_layers: int
    horizon: int
    buckets: int
    distance: int
    start: int
    reg: int

    @classmethod
    def read(cls, config: Config) -> BoltSizes:
        """Read the sizes from config.json: keys of ``T5Config`` and ``ChronosBoltConfig``.

        Raises:
            ConfigError: config.json is not a configuration of this network.
        """
        rest: dict[str, Any] = cls.common(config)
        own = config.section("chronos_config")
        own.no_others(KEYS)
        start = config.get("decoder_start_token_id")
        if type(start) is not int or start not in (0, 1):
            raise config.refused("decoder_start_token_id", "0 or 1")
        return cls(
            **rest,
            decoder_layers=config.whole("num_decoder_layers", rest["layers"]),
            horizon=own.whole("prediction_length"),
            buckets=config.whole("relative_attention_num_buckets", 32),
            distance=config.whole("relative_attention_max_distance", 128),
            start=start,
            reg=1,
        )


class Bolt:
    """The network: the encoder's products run in ``dtype``, the decoder in float32.

    With int8 the decoder runs in it too: to read its weights takes half of a single series' time.
    """

    def __init__(self, sizes: BoltSizes, take: Take, dtype: torch.dtype) -> None:
        self.sizes = sizes
        width = sizes.width
        tokens = owned(take("shared.weight", (2, width)))
        self._reg = tokens[sizes.reg]
        inner = int8.between(dtype)
        self._embed = Residual(take, "input_patch_embedding", 2 * sizes.patch, width, sizes, inner)
        self._bias = _position_bias(take, sizes)
        self._encoder = [
            (
                SelfAttention.taken(take, f"encoder.block.{i}.layer.0", "SelfAttention", sizes, dtype),
                Feed(take, f"encoder.block.{i}.layer.1", "DenseReluDense", sizes, dtype),
            )
            for i in range(sizes.layers)
        ]
        self._encoded = Norm(take, "encoder.final_layer_norm", sizes)
        # The bias of a single position shifts all of its scores equally, and softmax ignores such a shift: not used.
        take("decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", (sizes.buckets, sizes.heads))
        decoder = int8.or_float32(dtype)
        cross = PlainCrossAttention if dtype == torch.int8 else CrossAttention
        self._decoder = [
            (
                OwnAttention(take, f"decoder.block.{i}.layer.0", sizes, decoder),
                cross(take, f"decoder.block.{i}.layer.1", sizes),
                Feed(take, f"decoder.block.{i}.layer.2", "DenseReluDense", sizes, decoder),
            )
            for i in range(sizes.decoder_layers)
        ]
        self._decoded = Norm(take, "decoder.final_layer_norm", sizes)
        self._start = tokens[sizes.start]
        outputs = len(sizes.quantiles) * sizes.horizon
        self._quantiles = Residual(take, "output_patch_embedding", width, outputs, sizes)

    @torch.inference_mode()
    def forecast(self, context: Tensor, horizon: int) -> Tensor:
        """Forecast as ``ChronosBoltPipeline.predict``: beyond one block, each quantile is fed back as a separate path.

        Args:
            context: shape (B, points), float32, NaN at unobserved points; at most ``sizes.context`` points.

        Returns:
            shape (B, len(quantiles), horizon), float32, in the context's unit.
        """
        answers = [self._step(context)]
        count = len(self.sizes.quantiles)
        levels = torch.tensor(self.sizes.quantiles, device=context.device)
        paths = context.unsqueeze(1).expand(-1, count, -1)
        while len(answers) * self.sizes.horizon < horizon:
            paths = torch.cat((paths, answers[-1]), -1)[..., -self.sizes.context :]
            samples = torch.unflatten(self._step(paths.flatten(0, 1)), 0, (-1, count)).flatten(1, 2)
            answers.append(samples.quantile(levels, dim=1).transpose(0, 1))
        return torch.cat(answers, -1)[..., :horizon]

    def _step(self, context: Tensor) -> Tensor:
        """Forecast one block, shape (B, len(quantiles), sizes.horizon)."""
        rows = len(context)
        patches = patched(context, self.sizes.patch, arcsinh=False)
        x = self._embed(torch.cat((patches.values, patches.observed), -1))
        x = torch.cat((x, self._reg.expand(rows, 1, -1)), 1)
        unseen = F.pad(patches.hidden, (0, 1))
        tokens = x.shape[1]
        mask = self._bias[:, :, :tokens, :tokens]
        if unseen.any():
            mask = mask + unseen[:, None, None]
        for attention, feed in self._encoder:
            x = feed(attention(x, mask))
        answer = self._decode(self._encoded(x), unseen)
        answer = answer * patches.scale + patches.loc
        return answer.view(rows, len(self.sizes.quantiles), self.sizes.horizon)

    def _decode(self, encoded: Tensor, unseen: Tensor) -> Tensor:
        x = self._start.repeat(len(encoded), 1)
        for own, cross, feed in self._decoder:
            x = feed(cross(own(x), encoded, unseen))
        return self._quantiles(self._decoded(x))


class OwnAttention:
    """Self-attention of one token: x + (o v) norm(x)."""

    def __init__(self, take: Take, layer: str, sizes: Sizes, dtype: torch.dtype) -> None:
        inner, width = sizes.heads * sizes.head_width, sizes.width
        for unused in "qk":
            take(f"{layer}.SelfAttention.{unused}.weight", (inner, width))
        v = take(f"{layer}.SelfAttention.v.weight", (inner, width)).float()
        o = take(f"{layer}.SelfAttention.o.weight", (width, inner)).float()
        self._ov = large(o @ v, dtype, Norm(take, f"{layer}.layer_norm", sizes).parts)

    def __call__(self, x: Tensor) -> Tensor:
        return add(x, self._ov, x)


class CrossAttention:
    """x + o(attention of one token to the encoder's tokens). Keys and values are never computed."""

    def __init__(self, take: Take, layer: str, sizes: Sizes) -> None:
        inner, width = sizes.heads * sizes.head_width, sizes.width
        q, k, v = (owned(take(f"{layer}.EncDecAttention.{n}.weight", (inner, width))) for n in "qkv")
        self._q = q
        self._k = k.view(sizes.heads, -1, width)
        self._v = v.view(sizes.heads, -1, width).transpose(1, 2)
        self._o = owned(take(f"{layer}.EncDecAttention.o.weight", (width, inner)))
        self._norm = Norm(take, f"{layer}.layer_norm", sizes)

    def __call__(self, x: Tensor, encoded: Tensor, unseen: Tensor) -> Tensor:
        """Add the attention's output to ``x`` in place.

        Args:
            x: shape (B, D).
            encoded: shape (B, T, D).
            unseen: shape (B, T), added to the scores.
        """
        rows, heads = len(x), len(self._k)
        q = F.linear(self._norm(x), self._q).view(rows, heads, -1).transpose(0, 1)
        query = torch.bmm(q, self._k).transpose(0, 1)
        weights = torch.baddbmm(unseen.unsqueeze(1), query, encoded.transpose(1, 2)).softmax(-1)
        attended = torch.bmm(weights, encoded).transpose(0, 1)
        value = torch.bmm(attended, self._v).transpose(0, 1).reshape(rows, -1)
        return x.add_(F.linear(value, self._o))


class PlainCrossAttention:
    """The same with keys and values: in int8 to compute them for every token takes less time than to read the weights
    in float32."""

    def __init__(self, take: Take, layer: str, sizes: Sizes) -> None:
        weights = Weights.taken(take, layer, "EncDecAttention", sizes)
        norm = Norm(take, f"{layer}.layer_norm", sizes).parts
        q, *kv = weights.qkv
        self._q, self._kv = large(q, torch.int8, norm), large(torch.cat(kv), torch.int8)
        self._o, self._heads = large(weights.o, torch.int8), sizes.heads

    def __call__(self, x: Tensor, encoded: Tensor, unseen: Tensor) -> Tensor:
        """As ``CrossAttention``."""
        rows, tokens = unseen.shape
        q = self._q(x).view(rows, self._heads, 1, -1)
        k, v = self._kv(encoded).view(rows, tokens, 2, self._heads, -1).permute(2, 0, 3, 1, 4)
        weights = torch.add(q @ k.transpose(2, 3), unseen[:, None, None]).softmax(-1)
        return add(x, self._o, (weights @ v).view(rows, -1))


def _position_bias(take: Take, sizes: BoltSizes) -> Tensor:
    """The bias of transformers' ``T5Attention.compute_bias`` for the encoder's scores, shape (1, H, T, T)."""
    name = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    table = take(name, (sizes.buckets, sizes.heads)).float()
    tokens = torch.arange(-(-sizes.context // sizes.patch) + 1, device=table.device)
    offset = tokens[None] - tokens[:, None]
    # Each direction has half of the buckets. The first half of these holds one distance per bucket; the others
    # get wider with the distance.
    half = sizes.buckets // 2
    exact = half // 2
    away = offset.abs()
    wide = (away.clamp(min=1).float() / exact).log() / math.log(sizes.distance / exact) * (half - exact)
    bucket = torch.where(away < exact, away, (exact + wide.long()).clamp(max=half - 1))
    return table[bucket + half * (offset > 0)].permute(2, 0, 1).unsqueeze(0).contiguous()
