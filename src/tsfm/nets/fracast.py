"""Fracast's network, read from the released weights and run series by series so that its data fit in the CPU cache.

The official code (``fracast._core.model.FracastCore``, ``gather_head.GatherQuantileHead``) runs each of its ten
stages over a whole batch, transposes it back and forth, and detects the periods twice. Here a stage is three matrix
products and seven passes over half a megabyte, channels last. The numbers equal the official ones to float32
rounding. The period detection repeats the official one exactly, because a shift by one bin of its spectrum changes
the answer.

Shapes: B series, W points of context, H points of horizon, D channels, Q quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.nets.fracast_features import PHASES, RECENCY, phases, recency, seasonal, strongest_periods
from tsfm.nets.parallel import each
from tsfm.nets.product import Product, product
from tsfm.weights.configuration import Config

Take = Callable[[str, Sequence[int]], Tensor]  # returns the tensor with this name and checks its shape
Affine = Callable[[Take, str, int, int], Product]  # takes a weight and a bias, makes their product

TAPS = 3
SEED = 128  # number of newest hidden states from which the horizon's states start
HORIZON_STAGES = 6
PERIODS = 4

# The only values that the computation below supports. They are upstream's defaults, so a key may be absent.
RELEASED: dict[str, object] = {
    "share_stages": True,
    "causal": True,
    "separable_conv": True,
    "recency_encoding": True,
    "periodic_phase": True,
    "periodic_harmonics": 1,
    "periodic_min_period": 2,
    "periodic_alpha": 0.05,
    "scale_cond": "film",
    "scale_cond_dim": 8,
    "kernel_size": TAPS,
    "dilation_base": 2,
    "head_kind": "gather",
    "head_layers": 1,
    "head_fc_layers": 2,
    "head_fc_kernel": TAPS,
    "head_output_mode": "direct",
    "head_future_conv_layers": HORIZON_STAGES,
    "head_future_conv_seed": SEED,
    "head_phase_bins": PHASES,
    "head_seasonal_fill_mode": "phase_mean",
}
# These keys must be present: upstream's defaults are different.
REQUIRED: dict[str, object] = {"head_future_conv": True, "periodic_topk": PERIODS}


@dataclass(frozen=True)
class Sizes:
    """The sizes that may differ between checkpoints."""

    width: int
    window: int
    stages: int
    horizon: int
    quantiles: tuple[float, ...]
    hidden: int
    head_hidden: int

    @classmethod
    def read(cls, config: Config) -> Sizes:
        """Read the sizes from config.json.

        Raises:
            ConfigError: config.json is not a configuration of this network.
        """
        model = config.section("model")
        for name, expected in REQUIRED.items():
            if model.get(name) != expected:
                raise model.refused(name, repr(expected))
        window, horizon = model.whole("W"), model.whole("horizon")
        model.only(RELEASED)
        if model.get("level_widths") not in (None, [], [window]):
            raise model.refused("level_widths", f"[{window}], the whole context,")
        if config.section("pyramid").get("ratios") != []:
            raise config.section("pyramid").refused("ratios", "[]: one context at full resolution")
        if model.whole("future_queries") * model.whole("future_patch") != horizon:
            raise model.refused("future_queries", f"future_queries * future_patch to be the horizon of {horizon}")
        width = model.whole("d_model")
        return cls(
            width=width,
            window=window,
            stages=model.whole("n_stages", 10),
            horizon=horizon,
            quantiles=model.levels("quantiles"),
            hidden=int(width * model.number("ffn_mult", 1.5)),
            head_hidden=model.whole("head_d_ff"),
        )


class Swiglu:
    """y + down(silu(gate) * value), where gate and value are the halves of up(y)."""

    def __init__(self, take: Take, name: str, width: int, hidden: int, affine: Affine) -> None:
        self._hidden = hidden
        self._up, self._down = (
            affine(take, f"{name}.up", width, 2 * hidden),
            affine(take, f"{name}.down", hidden, width),
        )

    def __call__(self, y: Tensor) -> Tensor:
        both = self._up(y)
        gate = F.silu(both[..., : self._hidden])
        gate *= both[..., self._hidden :]
        return self._down(gate).add_(y)


class Filter:
    """A causal filter of three taps along the second-to-last axis, separate for each channel."""

    def __init__(self, take: Take, name: str, width: int) -> None:
        self._bias = take(f"{name}.dw_bias", (width,))
        taps = take(f"{name}.dw_weight", (width, 1, TAPS))[:, 0].T.contiguous()
        self._by_lag = taps.flip(0).unbind(0)

    def __call__(self, x: Tensor, dilation: int) -> Tensor:
        out = torch.addcmul(self._bias, x, self._by_lag[0])
        length = x.shape[-2]
        for lag, tap in enumerate(self._by_lag[1:], start=1):
            reach = min(lag * dilation, length)
            out[..., reach:, :].addcmul_(x[..., : length - reach, :], tap)
        return out


class Block:
    """``SelfSimilarBlock``: filter, projection and gated product, each with a residual and a norm."""

    def __init__(self, take: Take, name: str, width: int, hidden: int, affine: Affine) -> None:
        self._filter = Filter(take, name, width)
        self._project = affine(take, f"{name}.pw", width, width)
        self._feed = Swiglu(take, f"{name}.ffn", width, hidden, affine)
        self._norms = [take(f"{name}.norm{i}.weight", (width,)) for i in (1, 2)]

    def __call__(self, x: Tensor, dilation: int) -> Tensor:
        y = self._project(self._filter(x, dilation)).add_(x)
        y = F.rms_norm(y, y.shape[-1:], self._norms[0])
        return F.rms_norm(self._feed(y), y.shape[-1:], self._norms[1])


class FracastNet:
    """Quantiles of the next H points from W normalised points.

    Args:
        take: returns each tensor of the checkpoint once.
    """

    def __init__(self, sizes: Sizes, take: Take) -> None:
        self.sizes = sizes
        self._core = Core(sizes, take)
        self._head = Head(sizes, take)

    @torch.inference_mode()
    def __call__(self, values: Tensor, observed: Tensor) -> Tensor:
        """Forecast a batch.

        Args:
            values: shape (B, W), zero at unobserved points.
            observed: shape (B, W), bool.

        Returns:
            shape (B, H, Q).
        """
        periods = strongest_periods(values, observed, PERIODS)

        def read(rows: slice) -> tuple[Tensor, Tensor]:
            hidden = self._core(values[rows], observed[rows], periods[rows])
            return torch.cat((hidden.mean(1), hidden[:, -1]), -1), hidden[:, -SEED:].clone()

        summaries, newest = zip(*each(read, pieces(values)), strict=True)
        fill = seasonal(values, observed, periods[:, :1], self.sizes.horizon)
        return self._head(torch.cat(summaries), torch.cat(newest), fill)


def pieces(values: Tensor) -> list[slice]:
    """The rows of each pass of the encoder: one on a CPU, whose cache holds the data of one; all on a GPU."""
    if values.device.type != "cpu":
        return [slice(None)]
    return [slice(row, row + 1) for row in range(len(values))]


class Core:
    """The encoder of some series: (B, W) to (B, W, D)."""

    def __init__(self, sizes: Sizes, take: Take) -> None:
        width = sizes.width
        weight = take("core.in_proj.weight", (width, 2 + RECENCY))
        phase = take("core.periodic.proj.weight", (width, 2 * PERIODS))
        bias = take("core.in_proj.bias", (width,)) + take("core.periodic.proj.bias", (width,))
        self._time = torch.arange(sizes.window, device=weight.device).float()
        # The same for every series: how long ago each point was.
        self._base = F.linear(recency(self._time, sizes.window), weight[:, 2:], bias)
        self._enter = torch.cat((weight[:, :2], phase), 1).T.contiguous()
        self._dilations = [2**stage for stage in range(sizes.stages)]
        self._conditions = _conditions(take, width, self._dilations)
        self._block = Block(take, "core.block", width, sizes.hidden, _reordered)
        self._norm = take("core.norm.weight", (width,))

    def __call__(self, values: Tensor, observed: Tensor, periods: Tensor) -> Tensor:
        features = torch.cat((torch.stack((values, observed.float()), -1), phases(self._time, periods)), -1)
        rows = len(values)
        x = torch.baddbmm(self._base.expand(rows, -1, -1), features, self._enter.expand(rows, -1, -1))
        for dilation, (gain, shift) in zip(self._dilations, self._conditions, strict=True):
            x = self._block(torch.addcmul(shift, x, gain), dilation)
        return F.rms_norm(x, x.shape[-1:], self._norm)


class Head:
    """The decoder of a batch: from summaries (B, 2D), newest states (B, SEED, D) and fill (B, H) to (B, H, Q)."""

    def __init__(self, sizes: Sizes, take: Take) -> None:
        width, horizon, levels = sizes.width, sizes.horizon, len(sizes.quantiles)
        summary = take("head.summary_proj.weight", (width, RECENCY + 2 * width))
        when = torch.arange(sizes.window, sizes.window + horizon, device=summary.device).float()
        self._recency = recency(when, sizes.window)
        bias = take("head.summary_proj.bias", (width,))
        queries = take("head.queries", (horizon, width))
        self._base = F.linear(self._recency, summary[:, :RECENCY], bias) + queries
        self._summary = summary[:, RECENCY:].contiguous()
        self._feed = Swiglu(take, "head.decoder_ffns.0", width, sizes.head_hidden, _plain)
        self._norm = take("head.decoder_norms.0.weight", (width,))
        self._filters = [Filter(take, f"head.fc_blocks.{i}", width) for i in range(2)]
        self._norms = [take(f"head.fc_blocks.{i}.norm.weight", (width,)) for i in range(2)]
        name = "head.future_conv"
        self._enter = _plain(take, f"{name}.in_proj", 1 + RECENCY, width)
        self._block = Block(take, f"{name}.block", width, sizes.hidden, _plain)
        self._leave, self._out = (
            _plain(take, f"{name}.out_proj", width, width),
            _plain(take, "head.out_proj", width, levels),
        )

    def __call__(self, summaries: Tensor, newest: Tensor, fill: Tensor) -> Tensor:
        x = self._base + F.linear(summaries, self._summary).unsqueeze(1)
        shape = x.shape[-1:]
        x = F.rms_norm(self._feed(x), shape, self._norm)
        for at, (causal, norm) in enumerate(zip(self._filters, self._norms, strict=True)):
            x = F.rms_norm(causal(x, 2**at).add_(x), shape, norm)
        recency = self._recency.expand(len(fill), -1, -1)
        z = torch.cat((newest, self._enter(torch.cat((fill.unsqueeze(-1), recency), -1))), 1)
        for stage in range(HORIZON_STAGES):
            z = self._block(z, 2**stage)
        return self._out(x.add_(self._leave(z[:, -fill.shape[1] :])))


def _plain(take: Take, name: str, inner: int, out: int) -> Product:
    return partial(F.linear, weight=take(f"{name}.weight", (out, inner)), bias=take(f"{name}.bias", (out,)))


def _reordered(take: Take, name: str, inner: int, out: int) -> Product:
    """The same, faster; each number of rows needs memory of its own, so it is for products of a fixed number."""
    return product(take(f"{name}.weight", (out, inner)), take(f"{name}.bias", (out,)))


def _conditions(take: Take, width: int, dilations: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Gain and shift of each stage, as ``ScaleCondition`` computes them from the stage's dilation."""
    weight, bias = take("core.scale.to_gb.weight", (2 * width, 8)), take("core.scale.to_gb.bias", (2 * width,))
    octaves = torch.pow(2.0, torch.arange(4, device=weight.device, dtype=torch.float32))
    pairs = []
    for dilation in dilations:
        angle = math.log2(dilation) / octaves * math.pi
        gain, shift = F.linear(torch.cat((angle.sin(), angle.cos())), weight, bias).chunk(2)
        pairs.append((1.0 + gain, shift.contiguous()))
    return pairs
