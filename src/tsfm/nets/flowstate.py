"""The network of FlowState: state space layers over single points, and a decoder of continuous functions of time.

Written from granite-tsfm 0.3.11 (``tsfm_public.models.flowstate.modeling_flowstate``); reads its tensor names. A scale
stretches time: it multiplies the step of every state space, and the distance of the points at which the decoder's
Legendre polynomials are evaluated. Each series of a batch has its own.

The package convolves by Fourier transforms, carries every point through the last layer, and takes one length and one
scale in a pass. Here a recurrence in blocks takes the place of the transforms, only the points that are decoded leave
the last layer, and padding on the right, which no earlier point can see, lets series of any length share a batch.
Products run in ``dtype``; states, norms and the decoder in float32.

Shapes: B series, T points of the padded batch, D channels, N states, Q quantiles, K coefficients, P decoded points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.nets.devices import moved
from tsfm.nets.product import product
from tsfm.nets.recurrence import padded, recur
from tsfm.series import FloatArray
from tsfm.weights import configuration
from tsfm.weights.configuration import Config

Take = Callable[[str, Sequence[int]], Tensor]  # returns the tensor with this name and checks its shape

RANGES = {"legs": -1.0, "hlegs": 0.0}  # where the functions of time begin; all end at END
END = 0.95
LEAST_VARIANCE = 1e-5
NINE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
ONLY = configuration.TRANSFORMERS | {"model_type": "flowstate", "with_missing": True}


@dataclass(frozen=True)
class Sizes:
    """Sizes of the network, read from config.json.

    Attributes:
        context: points of context at scale 1.
        patch: points that one point decodes at scale 1.
        scale: of series without a known season.
        deep: a gated feed-forward of two layers in place of one gate (``mlp_type``).
        gated: a gate behind each state space (``out_gating``).
    """

    context: int
    width: int
    states: int
    layers: int
    patch: int
    coefficients: int
    quantiles: tuple[float, ...]
    begin: float
    scale: float
    deep: bool
    gated: bool

    @classmethod
    def read(cls, config: Config) -> Sizes:
        """Read the sizes: keys of ``FlowStateConfig``, and ``out_gating``, which the package reads beside them.

        Raises:
            ConfigError: config.json is not a configuration of this network.
        """
        config.only(ONLY)
        decoder, feed = config.word("decoder_type", "legs"), config.word("mlp_type", "gated")
        if decoder not in RANGES:
            raise config.refused("decoder_type", " or ".join(RANGES))
        return cls(
            context=config.whole("context_length", 2048),
            width=config.whole("embedding_feature_dim", 512),
            states=config.whole("encoder_state_dim", 512),
            layers=config.whole("encoder_num_layers", 6),
            patch=config.whole("decoder_patch_len", 24),
            coefficients=config.whole("decoder_dim", 256),
            quantiles=config.levels("quantiles", NINE),
            begin=RANGES[decoder],
            scale=config.number("scale_factor", 1.0),
            deep=feed == "transformer",
            gated=config.flag("out_gating", False),
        )


@dataclass(frozen=True)
class Input:
    """One series of a batch.

    Attributes:
        values: shape (n,), NaN at gaps; the newest points that its scale has room for.
        scale: of its time.
        horizon: steps to forecast.
        patch: steps that one point decodes at this scale.
    """

    values: FloatArray
    scale: float
    horizon: int
    patch: int

    @property
    def beyond(self) -> int:
        """Missing points after the series; the further ones of the horizon are decoded from these."""
        return max(0, self.horizon - self.patch)

    def decoded(self) -> list[tuple[int, slice]]:
        """The points to decode, and which of the steps of each to take; together they are the horizon."""
        last = len(self.values) - 1
        found = [(last + at, slice(0, self.patch)) for at in range(0, self.beyond + 1, self.patch)]
        if rest := self.beyond % self.patch:
            found.append((last + self.beyond, slice(self.patch - rest, self.patch)))
        return found


class Layer:
    """A state space, a gate and a feed-forward around a residual."""

    def __init__(self, take: Take, at: str, sizes: Sizes, dtype: torch.dtype) -> None:
        width, states = sizes.width, sizes.states
        self._dtype = dtype

        def linear(name: str, inner: int, outer: int) -> tuple[Tensor, Tensor]:
            return take(f"{at}.{name}.weight", (outer, inner)), take(f"{at}.{name}.bias", (outer,))

        def pair(name: str, *shape: int) -> tuple[Tensor, Tensor]:
            first, second = (take(f"{at}.ssm.{name}_tilde_{part}", shape).float() for part in "ri")
            return first, second

        real = take(f"{at}.ssm.log_Lambda_real", (states,)).double().exp().neg()
        rates = torch.complex(real, take(f"{at}.ssm.Lambda_imag", (states,)).double())
        self._rates, self._steps = rates, rates * take(f"{at}.ssm.log_Delta", (states,)).double().exp()
        # Real and imaginary parts side by side: a product's output is seen as complex numbers without a copy.
        self._into = product(torch.stack(pair("B", states, width), 1).view(2 * states, width).to(dtype))
        real_out, imaginary_out = pair("C", width, states)
        self._out = product(torch.stack((real_out, -imaginary_out), 2).view(width, 2 * states).to(dtype))
        self._through = take(f"{at}.ssm.D", (width,)).float().clone()
        self._gate = self._product(*linear("ssm.output_gate", width, width)) if sizes.gated else None
        self._scale = take(f"{at}.mlp.rms_weight", (width,)).float().clone() if sizes.deep else None
        if sizes.deep:
            both = [linear(f"mlp.{name}", width, 2 * width) for name in ("w1", "w2")]
            self._feed = self._product(*(torch.cat(parts) for parts in zip(*both, strict=True)))
            self._down = self._product(*linear("mlp.w3", 2 * width, width))
        else:
            self._feed = self._product(*linear("out", width, width))
        self._norm = take(f"{at}.norm.weight", (width,)).float().clone()
        self._shift = take(f"{at}.norm.bias", (width,)).float().clone()

    def _product(self, weight: Tensor, bias: Tensor) -> Callable[[Tensor], Tensor]:
        multiply = product(weight.to(self._dtype), bias.to(self._dtype))
        return lambda x: multiply(x.to(self._dtype))

    def states(self, x: Tensor, scales: Tensor) -> Tensor:
        """The states after every point: (B, T, D) and scales (B or 1, 1) to (B, T, N), complex."""
        rates = scales * self._steps
        driven = self._into(x.flatten(0, 1).to(self._dtype)).float()
        driven = torch.view_as_complex(driven.view(*x.shape[:2], -1, 2))
        driven *= ((rates.exp() - 1) / self._rates).to(driven.dtype)[:, None]
        return recur(driven, rates)

    def mix(self, x: Tensor, states: Tensor) -> Tensor:
        """The layer's output for some points: x, (P, D), and their states, (P, N)."""
        mixed = self._out(torch.view_as_real(states).flatten(1).to(self._dtype)).float()
        if self._gate:
            mixed.mul_(self._gate(mixed).sigmoid_())
        mixed.addcmul_(x, self._through)
        if self._scale is None:
            mixed = F.selu(mixed)
            mixed.mul_(self._feed(mixed).sigmoid_())
        else:
            gate, up = self._feed(F.rms_norm(mixed, self._scale.shape, self._scale, 1e-6)).chunk(2, -1)
            mixed.add_(self._down(F.silu(gate).mul_(up)))
        return F.layer_norm(mixed, self._norm.shape, self._norm, self._shift).add_(x)


class FlowState:
    """The network: takes series of any lengths and scales, returns the package's quantiles of each."""

    def __init__(self, sizes: Sizes, take: Take, dtype: torch.dtype) -> None:
        self.sizes = sizes
        self._embed = take("embed.embed.weight", (sizes.width, 2)).float().clone()
        self._embed_bias = take("embed.embed.bias", (sizes.width,)).float().clone()
        self._layers = [Layer(take, f"encoder.layers.{i}", sizes, dtype) for i in range(sizes.layers)]
        outputs = len(sizes.quantiles) * sizes.coefficients
        self._lin = take("decoder.lin.weight", (outputs, sizes.width)).float().clone()
        self._lin_bias = take("decoder.lin.bias", (outputs,)).float().clone()

    @torch.inference_mode()
    def forecast(self, batch: Sequence[Input]) -> list[FloatArray]:
        """The quantiles of each series in its unit, shape (Q, horizon) each."""
        values, normal = _points(batch, self._embed.device)
        alike = len({one.scale for one in batch}) == 1
        scales = values.new_tensor([[one.scale] for one in (batch[:1] if alike else batch)])
        groups: dict[tuple[float, int, int], list[int]] = {}
        for index, one in enumerate(batch):
            groups.setdefault((one.scale, one.horizon, one.patch), []).append(index)
        places = [(row, point) for group in groups.values() for row in group for point, _ in batch[row].decoded()]
        rows, points = moved(torch.tensor(places), values.device).unbind(1)
        x = F.linear(values.float(), self._embed, self._embed_bias)
        for layer in self._layers[:-1]:
            states = layer.states(x, scales)
            x = layer.mix(x.flatten(0, 1), states.flatten(0, 1)).view_as(x)
        states = self._layers[-1].states(x, scales)
        x = self._layers[-1].mix(x[rows, points], states[rows, points])
        found = F.linear(x, self._lin, self._lin_bias).view(len(x), len(self.sizes.quantiles), -1)
        mean, deviation = normal[rows, points].float()[:, :, None, None].unbind(1)
        levels = torch.tensor(self.sizes.quantiles, device=values.device)
        made, start = dict[int, FloatArray](), 0
        for group in groups.values():
            one, first = batch[group[0]], start
            start += len(group) * len(one.decoded())
            steps = found[first:start] @ self._basis(one)
            steps = steps.mul_(deviation[first:start]).add_(mean[first:start]).view(len(group), -1, *steps.shape[1:])
            pieces = [steps[:, at, :, some] for at, (_, some) in enumerate(one.decoded())]
            # The package answers sample quantiles of the network's outputs.
            answer = torch.quantile(torch.cat(pieces, -1)[..., : one.horizon], levels, dim=1)
            made |= zip(group, answer.transpose(0, 1).cpu().numpy(), strict=True)
        return [made[index] for index in range(len(batch))]

    def _basis(self, one: Input) -> Tensor:
        """Legendre polynomials at the steps that a point decodes, (K, patch); a quarter of them, as the package."""
        begin = self.sizes.begin
        times = begin + np.arange(1, one.patch + 1) * (one.scale * (END - begin) / self.sizes.patch)
        known = np.polynomial.legendre.legvander(times, self.sizes.coefficients - 1) / 4
        return torch.from_numpy(known.T.astype(np.float32)).to(self._embed.device)


def _points(batch: Sequence[Input], device: torch.device) -> tuple[Tensor, Tensor]:
    """The points of a batch, each normalised by the mean and the deviation of all points up to it.

    Returns:
        shape (B, T, 2): the value, 0 where it is missing, and 1 where it is; and (B, T, 2): mean and deviation.
    """
    steps = padded(max(len(one.values) + one.beyond for one in batch))
    given = np.full((len(batch), steps), np.nan)
    for row, one in zip(given, batch, strict=True):
        row[: len(one.values)] = one.values
    observed = ~np.isnan(given)
    values = np.where(observed, given, 0.0)
    count = np.maximum(observed.cumsum(axis=1), 1)
    mean = values.cumsum(axis=1) / count
    away = (values - mean) * observed
    deviation = np.sqrt(np.maximum((away**2).cumsum(axis=1) / count, LEAST_VARIANCE))
    both = np.stack((away / deviation, ~observed), axis=-1), np.stack((mean, deviation), axis=-1)
    return moved(both[0], device), moved(both[1], device)
