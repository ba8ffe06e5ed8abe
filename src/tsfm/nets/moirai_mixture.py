"""Moirai-MoE's predictive distribution: each draw transforms a fixed number of uniform random numbers.

Written from uni2ts 2.0.0 (``uni2ts.distribution``): a mixture of Student's t, a narrow normal, a negative binomial
and a log-normal for every point of a patch. Each draw uses exactly NOISE uniforms of its own. A rounding difference
in the parameters (a batch against a single series) therefore changes a draw only by rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.nets.devices import is_gpu
from tsfm.nets.moirai_patches import PATCH
from tsfm.weights.configuration import Config
from tsfm.weights.reader import State

NOISE = 9
LARGEST = 1e6  # a draw beyond a million scales is clamped: its square must fit in a float32
TERMS = 8  # of a Poisson distribution, after which the end is looked for
TINY = 2.0**-25  # uniforms are multiples of 2**-24; this is between 0 and the smallest positive one
COMPONENTS = ("StudentTOutput", "NormalFixedScaleOutput", "NegativeBinomialOutput", "LogNormalOutput")
NAMES = ("0.df", "0.loc", "0.scale", "1.loc", "2.total_count", "2.logits", "3.loc", "3.scale")


@dataclass(frozen=True)
class Mixture:
    """Parameters for each point, all (..., 16), and the shares of the components (..., 16, 4), which add up to 1."""

    shares: Tensor
    t: tuple[Tensor, Tensor, Tensor]  # degrees of freedom, loc, scale
    narrow: tuple[Tensor]  # loc
    counts: tuple[Tensor, Tensor]  # total count, log odds
    log: tuple[Tensor, Tensor]  # loc, scale of the logarithm

    def each(self) -> Mixture:
        """Add an axis for several draws from each distribution: (..., 1, 16)."""
        t, narrow, counts, log = (
            tuple(p[..., None, :] for p in part) for part in (self.t, self.narrow, self.counts, self.log)
        )
        return Mixture(self.shares[..., None, :, :], t, narrow, counts, log)  # type: ignore[arg-type]


class Head:
    """Maps a token's output (..., d) to the distribution of the next patch, in scaled units."""

    def __init__(self, state: State, width: int, narrow: float, device: str) -> None:
        prefix = "param_proj.proj."
        names = [(prefix + "weights_logits", 4), *((f"{prefix}components.{name}", 1) for name in NAMES)]
        weights = [state.take(f"{name}.weight", (1, PATCH * n, width))[0] for name, n in names]
        biases = [state.take(f"{name}.bias", (1, PATCH * n))[0] for name, n in names]
        self.weight, self.bias = torch.cat(weights).float().to(device), torch.cat(biases).float().to(device)
        self.narrow = narrow
        self.gathers = torch.device(device).type == "cpu"

    def __call__(self, x: Tensor) -> Mixture:
        rows = F.linear(x, self.weight, self.bias).view(*x.shape[:-1], 4 + len(NAMES), PATCH)
        df, loc, scale, narrow, total, odds, log_loc, log_scale = rows[..., 4:, :].unbind(-2)
        shares = rows[..., :4, :].softmax(-2).transpose(-1, -2)
        least = torch.finfo(torch.float32).eps
        return Mixture(
            shares,
            (2 + F.softplus(df), loc, F.softplus(scale).clamp_min(least)),
            (narrow,),
            (F.softplus(total), odds),
            (log_loc, F.softplus(log_scale).clamp_min(least)),
        )

    def draw(self, mixture: Mixture, noise: Tensor) -> Tensor:
        """Draw once for each point, shape (..., 16). The parameters are broadcast to this shape.

        Args:
            noise: (NOISE, ..., 16), uniform random numbers.
        """
        shape = noise.shape[1:]
        below = mixture.shares.cumsum(-1)[..., :3]
        choice = (noise[0][..., None] >= below).sum(-1)
        drawn = torch.empty(shape, device=noise.device)
        for number, (make, parameters) in enumerate(self._makers(mixture)):
            at = choice == number
            expanded = [p.expand(shape) for p in parameters]
            if self.gathers:
                drawn[at] = make(noise[1:, at] + TINY, *(p[at] for p in expanded))
            else:  # how many points there are is not known without waiting for the device
                drawn = torch.where(at, make(noise[1:] + TINY, *expanded), drawn)
        return drawn.nan_to_num(0.0, LARGEST, -LARGEST).clamp(-LARGEST, LARGEST)

    def _makers(self, mixture: Mixture) -> list[tuple[Callable[..., Tensor], tuple[Tensor, ...]]]:
        return [
            (_student, mixture.t),
            (self._narrow, mixture.narrow),
            (_counts, mixture.counts),
            (_log_normal, mixture.log),
        ]

    def _narrow(self, noise: Tensor, loc: Tensor) -> Tensor:
        return loc + self.narrow * _normals(noise[0], noise[1])[0]


def narrow_scale(config: Config) -> float:
    """The narrow normal's scale, after a check that ``distr_output`` of config.json is the supported mixture.

    Raises:
        ConfigError: ``distr_output`` is another distribution.
    """
    output = config.section("distr_output")
    output.no_others(("_target_", "components"))
    components = output.sections("components")
    names = [_class(each) for each in (output, *components)]
    if names != ["MixtureOutput", *COMPONENTS]:
        raise config.refused("distr_output", f"MixtureOutput of {', '.join(COMPONENTS)}")
    for part in components:
        part.no_others(("_target_", "scale") if part is components[1] else ("_target_",))
    return components[1].number("scale", 1e-3)


def _class(config: Config) -> str:
    return config.word("_target_", "").rpartition(".")[2]


def _normals(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Two independent normals from two uniforms (Box and Muller, 1958)."""
    radius = (-2 * first.log()).sqrt()
    return radius * (2 * math.pi * second).cos(), radius * (2 * math.pi * second).sin()


def _student(noise: Tensor, df: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """An exact draw from two uniforms (Bailey, Mathematics of Computation 62, 1994)."""
    radius = (df * torch.expm1(-2 * noise[0].log() / df)).sqrt()
    return loc + scale * radius * (2 * math.pi * noise[1]).cos()


def _log_normal(noise: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return (loc + scale * _normals(noise[0], noise[1])[0]).exp()


def _counts(noise: Tensor, total: Tensor, odds: Tensor) -> Tensor:
    """Negative binomial: a Poisson draw whose rate is gamma distributed."""
    rate = _gamma(noise[:7], total) * odds.exp()
    return _poisson(noise[7], rate)


def _gamma(noise: Tensor, shape: Tensor) -> Tensor:
    """Gamma draw by Marsaglia and Tsang (ACM TOMS 26, 2000) with at most three tries.

    Each try is accepted with a probability of 95 % or more. The third try is used even if it should be rejected,
    which happens in one draw in 8,000 or fewer: its cube is still a draw from nearly the same distribution.
    """
    d = shape + 2 / 3  # for shape + 1: the last factor corrects this, and covers shapes below 1
    c = 1 / (9 * d).sqrt()
    tries = (*_normals(noise[0], noise[1]), _normals(noise[2], noise[3])[0])
    value = torch.zeros_like(d)
    for z, u in zip(reversed(tries), (None, noise[4], noise[5]), strict=True):
        cube = (1 + c * z) ** 3
        right = cube > 0
        if u is not None:
            right &= u.log() < z * z / 2 + d - d * cube + d * cube.clamp_min(TINY).log()
        value = torch.where(right, d * cube, value)
    return value * (noise[6].log() / shape).exp()


def _poisson(uniform: Tensor, rate: Tensor) -> Tensor:
    """Poisson draw by inversion: exact for rates below 32, else by the Cornish-Fisher expansion, rounded."""
    z = torch.special.ndtri(uniform.clamp(TINY, 1 - 2**-24))
    large = (rate + rate.sqrt() * z + (z * z - 1) / 6).round().clamp_min(0)
    small = torch.where(rate < 32, rate, 0.0).double()
    if is_gpu(rate.device):
        return torch.where(rate < 32, _least(uniform, small), large)
    term, count = (-small).exp(), torch.zeros_like(rate)
    reached = term.clone()
    for k in range(1, 150):
        beyond = uniform > reached
        # Further terms change nothing; to ask for each of them would have a GPU wait.
        if k % TERMS == 1 and not beyond.any():
            break
        count += beyond
        term = term * small / k
        reached = reached + term
    return torch.where(rate < 32, count, large)


def _least(uniform: Tensor, rate: Tensor) -> Tensor:
    """The least count, below 256, that a Poisson variable exceeds with a probability of at most 1 - ``uniform``.

    Bits are found from the highest to the lowest, by the distribution function: a GPU that adds up terms would have
    to be asked after some of them whether there are enough.
    """
    count = torch.zeros_like(uniform)
    for bit in range(7, -1, -1):
        further = count + 2**bit
        count = torch.where(uniform > torch.special.gammaincc(further.double(), rate), further, count)
    return count
