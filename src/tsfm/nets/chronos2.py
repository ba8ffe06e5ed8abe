"""Chronos-2: an encoder over patches of past and future that attends along time and across a group of rows.

The numbers equal those of upstream's ``chronos.chronos2.model.Chronos2Model`` and of its pipeline's rule for long
horizons. A group is one target with its covariates. A target without covariates attends only to itself across the
group: this is one product instead of an attention over the whole batch.

Only the feed-forward products run in bfloat16. They are more than half of the work. The other products in bfloat16
would double the distance to the float32 answer, and the final sinh stretches this distance in the tails. In int8 all
products of the layers run, as they then take a quarter of the time.
"""

from __future__ import annotations

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
    *("context_length", "output_patch_size", "input_patch_size", "input_patch_stride", "quantiles"),
    *("use_reg_token", "use_arcsinh", "max_output_patches", "time_encoding_scale"),
)

# Upstream feeds these quantiles back when the horizon is longer than one pass.
UNROLLED = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Chronos2Sizes(Sizes):
    """Sizes of a Chronos-2, read from its config.json."""

    most_patches: int
    time_scale: int
    theta: float
    arcsinh: bool

    @classmethod
    def read(cls, config: Config) -> Chronos2Sizes:
        """Read the sizes from config.json: keys of ``Chronos2CoreConfig`` and ``Chronos2ForecastingConfig``.

        Raises:
            ConfigError: config.json is not a configuration of this network.
        """
        rest: dict[str, Any] = cls.common(config)
        own = config.section("chronos_config")
        own.no_others(KEYS)
        if rest["gated"]:
            raise config.refused("is_gated_act" if "is_gated_act" in config else "feed_forward_proj", "no gate")
        if own.whole("output_patch_size") != rest["patch"]:
            raise own.refused("output_patch_size", f"input_patch_size, {rest['patch']}")
        if not set(UNROLLED) <= set(rest["quantiles"]):
            raise own.refused("quantiles", "0.1 to 0.9 among them")
        return cls(
            **rest,
            most_patches=own.whole("max_output_patches", 1),
            time_scale=own.whole("time_encoding_scale", rest["context"]),
            theta=config.rope_theta(),
            arcsinh=own.flag("use_arcsinh", False),
        )


class Chronos2:
    """The network: takes groups of rows, returns quantiles of each row.

    Feed-forward products run in ``dtype``; with int8 those of attention do, too.
    """

    def __init__(self, sizes: Chronos2Sizes, take: Take, dtype: torch.dtype) -> None:
        self.sizes = sizes
        self._reg = owned(take("shared.weight", (2, sizes.width)))[1]
        self._embed = Residual(take, "input_patch_embedding", 3 * sizes.patch, sizes.width, sizes)
        attention = int8.or_float32(dtype)
        self._blocks = [
            (
                SelfAttention.taken(take, f"encoder.block.{i}.layer.0", "self_attention", sizes, attention),
                Between(take, f"encoder.block.{i}.layer.1", sizes, attention),
                Feed(take, f"encoder.block.{i}.layer.2", "mlp", sizes, dtype),
            )
            for i in range(sizes.layers)
        ]
        self._norm = Norm(take, "encoder.final_layer_norm", sizes)
        outputs = len(sizes.quantiles) * sizes.patch
        self._quantiles = Residual(take, "output_patch_embedding", sizes.width, outputs, sizes)
        self._levels = torch.tensor(sizes.quantiles, device=self._reg.device)
        self._fed_back = [sizes.quantiles.index(level) for level in UNROLLED]
        self._turns = _turns(sizes, self._reg.device)

    @property
    def longest(self) -> int:
        """The longest horizon of one pass, in points."""
        return self.sizes.most_patches * self.sizes.patch

    @torch.inference_mode()
    def forecast(self, context: Tensor, future: Tensor, group: int, horizon: int) -> Tensor:
        """Forecast quantiles of every row.

        Args:
            context: shape (B, points), float32, NaN at unobserved points; at most ``sizes.context`` points.
            future: shape (B, horizon), NaN at unknown points; a row to be forecast is all NaN.
            group: number of rows of one group. The rows of a group are adjacent; B is a multiple of ``group``.

        Returns:
            shape (B, len(quantiles), horizon), float32, in the unit of each row.
        """
        answer = self._step(context, future, group, horizon)
        answers = [answer]
        done = answer.shape[-1]
        if done < horizon:
            weights = torch.outer(_mass(self._levels[self._fed_back]), _mass(self._levels)).flatten()
            paths = len(UNROLLED)
            context, future = _each_path(context, group, paths), _each_path(future, group, paths)
        while done < horizon:
            fed_back = torch.unflatten(answer[:, self._fed_back], 0, (-1, group)).transpose(1, 2).flatten(0, 2)
            known = F.pad(
                future[:, : answer.shape[-1]], (0, max(0, answer.shape[-1] - future.shape[-1])), value=torch.nan
            )
            fed_back = torch.where(known.isnan(), fed_back, known)
            context = torch.cat((context, fed_back), -1)[:, -self.sizes.context :]
            future = future[:, answer.shape[-1] :]
            samples = self._step(context, future, group, horizon - done)
            # (group, path, row of the group) -> (group, row of the group, path and quantile)
            samples = torch.unflatten(samples, 0, (-1, paths, group)).transpose(1, 2).flatten(0, 1).flatten(1, 2)
            answer = _weighted_quantiles(samples, weights, self._levels)
            answers.append(answer)
            done += answer.shape[-1]
        return torch.cat(answers, -1)[..., :horizon]

    def _step(self, context: Tensor, future: Tensor, group: int, horizon: int) -> Tensor:
        """Run one pass over as many whole patches as the horizon needs, at most ``most_patches``."""
        size = self.sizes.patch
        ahead = min(-(-horizon // size), self.sizes.most_patches)
        past = patched(context, size, self.sizes.arcsinh)
        future = F.pad(future[:, : ahead * size], (0, max(0, ahead * size - future.shape[-1])), value=torch.nan)
        future = (future - past.loc) / past.scale
        future = torch.unflatten(future.arcsinh_() if self.sizes.arcsinh else future, -1, (ahead, size))
        known = future.isnan().logical_not_().float()
        length = past.values.shape[1]
        x = torch.cat(
            (
                self._embed(torch.cat((self._time(-length, 0, len(context)), past.values, past.observed), -1)),
                self._reg.expand(len(context), 1, -1),
                self._embed(torch.cat((self._time(0, ahead, len(context)), future.nan_to_num_(0.0), known), -1)),
            ),
            1,
        )
        x = self._encode(x, F.pad(past.hidden, (0, 1 + ahead)), group, ahead)
        answer = torch.unflatten(self._quantiles(x), -1, (-1, size)).transpose(1, 2).flatten(1)
        answer = (answer.sinh_() if self.sizes.arcsinh else answer) * past.scale + past.loc
        return torch.unflatten(answer, -1, (-1, ahead * size))

    def _time(self, start: int, stop: int, rows: int) -> Tensor:
        """Time of each point of the patches ``start`` to ``stop``, shape (rows, patches, P). Zero means "now"."""
        size = self.sizes.patch
        points = torch.arange(start * size, stop * size, dtype=torch.float32, device=self._reg.device)
        return torch.unflatten(points / self.sizes.time_scale, 0, (-1, size)).expand(rows, -1, -1)

    def _encode(self, x: Tensor, hidden: Tensor, group: int, ahead: int) -> Tensor:
        """Encode ``x`` and return its last ``ahead`` tokens.

        Args:
            hidden: shape (B, T), added to the scores.
        """
        tokens = x.shape[1]
        cos, sin = (table[:tokens] for table in self._turns)
        mask = hidden[:, None, None] if hidden.any() else None
        across = torch.unflatten(hidden, 0, (-1, group)).transpose(1, 2).flatten(0, 1)[:, None, None]
        for layer, (along, between, feed) in enumerate(self._blocks, start=1):
            x = along(x, mask, lambda qk: _turned(qk, cos, sin))
            if layer == len(self._blocks):  # the past is not used after the last attention along time
                x = x[:, -ahead:].contiguous()
                across = torch.unflatten(across, 0, (-1, tokens))[:, -ahead:].flatten(0, 1)
            x = feed(between.alone(x) if group == 1 else between.grouped(x, across, group))
        return self._norm(x)


class Between(SelfAttention):
    """Attention across the rows of each group, separately at each token."""

    def __init__(self, take: Take, layer: str, sizes: Sizes, dtype: torch.dtype) -> None:
        weights = Weights.taken(take, layer, "self_attention", sizes)
        super().__init__(weights, take, layer, sizes, dtype)
        self._ov = large(weights.o.float() @ weights.qkv[2].float(), dtype, self._norm.parts)

    def grouped(self, x: Tensor, mask: Tensor, group: int) -> Tensor:
        """Add the attention's output; ``x`` has shape (B, T, D), the mask (B / group * T, 1, 1, group)."""
        tokens = x.shape[1]
        turned = torch.unflatten(x, 0, (-1, group)).transpose(1, 2).flatten(0, 1).contiguous()
        turned = self(turned, mask)
        return torch.unflatten(turned, 0, (-1, tokens)).transpose(1, 2).flatten(0, 1).contiguous()

    def alone(self, x: Tensor) -> Tensor:
        """The same where each group is one row: what attends only to itself needs no queries and no keys."""
        return add(x, self._ov, x)


def _turns(sizes: Chronos2Sizes, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary positions, shape (T, K / 2), as ``Chronos2RotaryEmbedding``."""
    most = -(-sizes.context // sizes.patch) + 1 + sizes.most_patches
    exponent = torch.arange(0, sizes.head_width, 2, device=device).float() / sizes.head_width
    angle = torch.arange(most, device=device).float()[:, None] * (1.0 / sizes.theta**exponent)
    return angle.cos(), angle.sin()


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def _each_path(rows: Tensor, group: int, paths: int) -> Tensor:
    """Repeat each group once for every path: shape (B, n) to (groups * paths * group, n)."""
    return torch.unflatten(rows, 0, (-1, 1, group)).expand(-1, paths, -1, -1).flatten(0, 2)


def _mass(levels: Tensor) -> Tensor:
    """Probability mass of each quantile: it reaches half of the way to each neighbour. The masses add up to 1."""
    edges = torch.cat((levels.new_zeros(1), levels, levels.new_ones(1)))
    mass = (edges[2:] - edges[:-2]) / 2
    return mass / mass.sum()


def _weighted_quantiles(samples: Tensor, weights: Tensor, levels: Tensor) -> Tensor:
    """Quantiles of weighted samples: linear between samples, constant outside, as ``chronos.utils.weighted_quantile``.

    Args:
        samples: shape (B, n, h).
        weights: shape (n,), adding up to 1.
        levels: shape (q,).

    Returns:
        shape (B, q, h).
    """
    values, order = samples.transpose(1, 2).sort(-1)
    reached = weights[order].cumsum(-1).clamp_(max=1.0).contiguous()
    requested = levels.expand(*reached.shape[:-1], -1).contiguous()
    above = torch.searchsorted(reached, requested, right=True)
    right = above.clamp(max=reached.shape[-1] - 1)
    left = (above - 1).clamp(min=0)
    low, high = reached.gather(-1, left), reached.gather(-1, right)
    weight = ((requested - low) / (high - low)).nan_to_num_(0.0).clamp_(0.0, 1.0)
    return torch.lerp(values.gather(-1, left), values.gather(-1, right), weight).transpose(1, 2)
