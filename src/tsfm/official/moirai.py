"""Moirai-MoE and Moirai-2 through uni2ts 2.0.0 (``MoiraiMoEForecast`` and ``Moirai2Forecast``).

uni2ts fills gaps of a single target with the mean of what was before them, and puts 0 into gaps of several targets and
of a covariate in their raw unit. It pads a length that is no multiple of 16 with raw zeros, so the unit of a series
matters. Moirai-MoE draws samples from torch's global generator: no two answers are equal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tsfm.numerics import quantiles
from tsfm.official._adapter import BATCH_POINTS, Quantiled, by_shape, loading_folder, path
from tsfm.series import Capabilities, FloatArray, Forecast, Group, Runtime, Series
from tsfm.weights.configuration import Config

PIN = "uni2ts==2.0.0"
ENVIRONMENT = {
    "requirements": [
        "gluonts==0.16.3",
        "lightning==2.6.6",
        "hydra-core==1.3.8",
        "omegaconf==2.3.1",
        "jaxtyping==0.3.7",
        "scipy==1.17.1",
        "einops==0.8.2",
        "huggingface-hub==0.36.2",
        "matplotlib==3.11.2",
    ],
    "overrides": [
        "torch==2.13.0",
        "numpy==2.4.6",
        "scipy==1.17.1",
        "gluonts==0.16.3",
        "einops==0.8.2",
        "jaxtyping==0.3.7",
        "hydra-core==1.3.8",
        "huggingface-hub==0.36.2",
        "python-dotenv==1.2.4",
    ],
    "dropped": ["jax", "datasets", "tensorboard", "multiprocess"],
}
PATCH = 16
SAMPLES = 100  # uni2ts's own default
JOINT = Capabilities(
    past_covariates=True, future_covariates=True, multivariate=True, native_quantiles=True, missing_values=True
)


class Published(Protocol):
    """What is used of a class of uni2ts's modules."""

    def __call__(self, **config: object) -> nn.Module: ...

    def from_pretrained(self, folder: Path, *, strict: bool) -> nn.Module: ...


class Forecaster(Protocol):
    """What is used of uni2ts's forecasters: the loop around a module, for one length, horizon and schema."""

    module: nn.Module

    def eval(self) -> Forecaster: ...

    def __call__(self, **inputs: Tensor) -> Tensor: ...

    def get_default_transform(self) -> Callable[..., Iterable[Mapping[str, NDArray[np.generic]]]]: ...

    def context_token_length(self, patch_size: int) -> int: ...

    def _convert(self, patch_size: int, **inputs: Tensor) -> Sequence[Tensor]: ...


class Classes(NamedTuple):
    moe_module: Published
    moe_forecast: Callable[..., Forecaster]
    second_module: Published
    second_forecast: Callable[..., Forecaster]


def classes() -> Classes:
    """Import the package without jax, which jaxtyping's ``PyTree`` needs and only annotations use."""
    import einops
    import jaxtyping

    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns of having no folder for its settings

    class PyTree:
        def __class_getitem__(cls, item: object) -> object:
            return cls

    jaxtyping.PyTree = PyTree
    from uni2ts.model.moirai2 import Moirai2Forecast, Moirai2Module
    from uni2ts.model.moirai2 import forecast as second
    from uni2ts.model.moirai_moe import MoiraiMoEForecast, MoiraiMoEModule

    rearrange = einops.rearrange
    # Beyond the horizon of one pass it states the number of tokens of one target, which is wrong for several.
    second.rearrange = lambda tensor, pattern, predict_token=None, **sizes: rearrange(tensor, pattern, **sizes)
    return Classes(MoiraiMoEModule, MoiraiMoEForecast, Moirai2Module, Moirai2Forecast)


def load(folder: Path | None, runtime: Runtime) -> MoiraiMoE | Moirai2:
    """The checkpoint in ``folder`` (config.json, model.safetensors), of either kind.

    Raises:
        ConfigError: the package is not installed, or does not load the folder.
    """
    with loading_folder(PIN, folder, runtime) as checkpoint:
        package, config = classes(), Config.read(checkpoint)
        if "distr_output" in config:
            module = package.moe_module.from_pretrained(checkpoint, strict=True).to(runtime.device)
            return MoiraiMoE(Network(module, package.moe_forecast, config.whole("max_seq_len"), runtime.device))
        module = package.second_module.from_pretrained(checkpoint, strict=True).to(runtime.device)
        return Moirai2(Network(module, package.second_forecast, config.whole("max_seq_len"), runtime.device))


class Network:
    """A module of uni2ts, and forecasters around it."""

    def __init__(self, module: nn.Module, forecast: Callable[..., Forecaster], tokens: int, device: str) -> None:
        self.module, self._forecast, self._tokens, self._device = module, forecast, tokens, device

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        """Points of context that fit beside the rest into the tokens of training; uni2ts itself checks nothing."""
        (past, known), steps = schema, -(-horizon // PATCH)
        return (self._tokens - (1 + known) * steps) // (1 + past + known) * PATCH

    def prepare(self, batch: Sequence[Group], horizon: int, **options: int) -> tuple[Forecaster, dict[str, Tensor]]:
        """A forecaster for groups of one length and schema, and what its forward pass takes."""
        first = batch[0].members[0]
        past, known = first.schema
        forecaster = self._forecast(
            module=self.module,
            prediction_length=horizon,
            context_length=len(first),
            target_dim=len(batch[0].members),
            feat_dynamic_real_dim=known,
            past_feat_dynamic_real_dim=past,
            **options,
        ).eval()
        return forecaster, self._inputs(forecaster.get_default_transform(), batch)

    @torch.no_grad()
    def outputs(self, batch: Sequence[Group], horizon: int, **options: int) -> FloatArray:
        """The package's forecast of groups of one length and schema, shape (b, members, ..., horizon)."""
        forecaster, inputs = self.prepare(batch, horizon, **options)
        made = forecaster(**inputs).cpu().numpy()
        return np.moveaxis(made.reshape(*made.shape[:3], -1), 3, 1)

    def _inputs(
        self, transform: Callable[..., Iterable[Mapping[str, NDArray[np.generic]]]], groups: Sequence[Group]
    ) -> dict[str, Tensor]:
        """The package's own transformation: gaps filled, and marked as not observed."""
        firsts = [group.members[0] for group in groups]
        stacks = [np.stack([member.target for member in group.members]) for group in groups]
        entries = [
            {
                "target": targets[0] if len(targets) == 1 else targets,
                "feat_dynamic_real": series.future_covariates.copy(),
                "past_feat_dynamic_real": series.past_covariates.copy(),
            }
            for series, targets in zip(firsts, stacks, strict=True)
        ]
        with np.errstate(invalid="ignore"):  # the mean of nothing, before the first observed point
            made = list(transform(entries, is_train=False))
        past, known = firsts[0].schema
        names = {"target": "past_target", "observed_target": "past_observed_target"}
        if known:
            names |= {name: name for name in ("feat_dynamic_real", "observed_feat_dynamic_real")}
        if past:
            names |= {name: name for name in ("past_feat_dynamic_real", "past_observed_feat_dynamic_real")}
        inputs = {
            name: torch.from_numpy(np.ascontiguousarray(np.stack([one[field].T for one in made]))).to(self._device)
            for field, name in names.items()
        }
        padded = torch.zeros(inputs["past_target"].shape[:2], dtype=torch.bool, device=self._device)
        return inputs | {"past_is_pad": padded}


class Moirai2(Quantiled):
    capabilities = replace(JOINT, covariate_gaps=True)

    def __init__(self, network: Network) -> None:
        super().__init__(PIN, cast("Sequence[float]", network.module.quantile_levels), network.context_for(1, (0, 0)))
        self._network = network

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        return self._network.context_for(horizon, schema)

    def quantiles(self, batch: Sequence[Series], horizon: int) -> FloatArray:
        return by_shape(batch, lambda alike: self.joint_quantiles(_each(alike), horizon)[:, 0])

    def forecast_joint(self, batch: Sequence[Group], horizon: int, levels: Sequence[float]) -> list[list[Forecast]]:
        return [quantiles.forecasts(self.levels, self.joint_quantiles([group], horizon)[0], levels) for group in batch]

    def joint_quantiles(self, batch: Sequence[Group], horizon: int) -> FloatArray:
        """Of groups of one length and schema, shape (b, members, q, horizon)."""
        return self._network.outputs(batch, horizon)


class MoiraiMoE:
    min_context = min_room = 1
    batch_points = BATCH_POINTS
    capabilities = JOINT

    def __init__(self, network: Network) -> None:
        self._network = network
        self.max_context = network.context_for(1, (0, 0))
        self.path = path(PIN)

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        return self._network.context_for(horizon, schema)

    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        """Quantiles of samples."""
        rows = np.quantile(self.samples(batch, horizon), [0.5, *levels], axis=1)
        return [Forecast(rows[0, index], rows[1:, index]) for index in range(len(batch))]

    def forecast_joint(self, batch: Sequence[Group], horizon: int, levels: Sequence[float]) -> list[list[Forecast]]:
        """Quantiles of samples."""
        made = [np.quantile(self.joint_samples([group], horizon)[0], [0.5, *levels], axis=1) for group in batch]
        return [[Forecast(rows[0, at], rows[1:, at]) for at in range(rows.shape[1])] for rows in made]

    def samples(self, batch: Sequence[Series], horizon: int, count: int = SAMPLES) -> FloatArray:
        """Shape (b, count, horizon)."""
        return by_shape(batch, lambda alike: self.joint_samples(_each(alike), horizon, count)[:, 0])

    def joint_samples(self, batch: Sequence[Group], horizon: int, count: int = SAMPLES) -> FloatArray:
        """Of groups of one length and schema, shape (b, members, count, horizon)."""
        return self._network.outputs(batch, horizon, patch_size=PATCH, num_samples=count)

    @torch.no_grad()
    def mixture(
        self, batch: Sequence[Group], horizon: int, *, future: Tensor | None = None, step: int = 0, observed: int = 0
    ) -> list[Tensor]:
        """The distribution of patch number ``step`` of the horizon, for groups of one length and schema.

        Args:
            future: shape (b, members, 16 * patches of the horizon), what they hold; None: what uni2ts puts there.
            observed: patches of the future that count as observed, and so in the scale, as they do in its forecast.

        Returns:
            each shape (b, members, 16), as the module has it before it is scaled back: four shares; freedom, place and
            width of Student's t; place and width of the narrow normal; count and logits of the negative binomial;
            place and width of the log-normal.
        """
        forecaster, inputs = self._network.prepare(batch, horizon, patch_size=PATCH)
        target, mask, *ids, predicted = forecaster._convert(PATCH, **inputs)
        members = len(batch[0].members)
        context, steps = forecaster.context_token_length(PATCH), -(-horizon // PATCH)
        begins = [members * context + steps * member for member in range(members)]
        if future is not None:
            target[:, begins[0] : begins[0] + members * steps] = future.view(len(batch), -1, PATCH)
        for begin in begins:
            predicted[:, begin : begin + observed] = False
        newest = [context * member + context - 1 for member in range(members)]
        positions = [begin + step - 1 for begin in begins] if step else newest
        sizes = torch.full(target.shape[:2], PATCH, device=target.device)
        mixture = forecaster.module(target, mask, *ids, predicted, sizes).base_dist
        t, narrow, counts, log = mixture.components
        parts = [*mixture.weights.probs.unbind(-1), t.df, t.loc, t.scale, narrow.loc, narrow.scale]
        parts += [counts.total_count, counts.logits, log.loc, log.scale]
        return [torch.as_tensor(part).expand(t.df.shape)[:, positions] for part in parts]


def _each(batch: Sequence[Series]) -> list[Group]:
    return [Group((series,)) for series in batch]
