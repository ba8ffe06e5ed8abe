"""Moirai-MoE and Moirai-2 through uni2ts 2.0.0 (``MoiraiMoEForecast`` and ``Moirai2Forecast``).

uni2ts fills gaps of the target with the mean of what was before them, and puts 0 into gaps of a covariate in its raw
unit. It pads a length that is no multiple of 16 with raw zeros, so the unit of a series matters. Moirai-MoE draws
samples from torch's global generator: no two answers are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tsfm.official._adapter import BATCH_POINTS, Quantiled, by_shape, loading_folder, path
from tsfm.series import Capabilities, FloatArray, Forecast, Runtime, Series
from tsfm.weights.configuration import Config

PIN = "uni2ts==2.0.0"
PATCH = 16
SAMPLES = 100  # uni2ts's own default
COVARIATES = Capabilities(past_covariates=True, future_covariates=True, native_quantiles=True, missing_values=True)


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

    def _convert(self, patch_size: int, **inputs: Tensor) -> Sequence[Tensor]: ...


class Classes(NamedTuple):
    moe_module: Published
    moe_forecast: Callable[..., Forecaster]
    second_module: Published
    second_forecast: Callable[..., Forecaster]


def classes() -> Classes:
    """Import the package without jax, which jaxtyping's ``PyTree`` needs and only annotations use."""
    import jaxtyping

    class PyTree:
        def __class_getitem__(cls, item: object) -> object:
            return cls

    jaxtyping.PyTree = PyTree
    from uni2ts.model.moirai2 import Moirai2Forecast, Moirai2Module
    from uni2ts.model.moirai_moe import MoiraiMoEForecast, MoiraiMoEModule

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

    def prepare(self, batch: Sequence[Series], horizon: int, **options: int) -> tuple[Forecaster, dict[str, Tensor]]:
        """A forecaster for series of one length and schema, and what its forward pass takes."""
        past, known = batch[0].schema
        forecaster = self._forecast(
            module=self.module,
            prediction_length=horizon,
            context_length=len(batch[0]),
            target_dim=1,
            feat_dynamic_real_dim=known,
            past_feat_dynamic_real_dim=past,
            **options,
        ).eval()
        return forecaster, self._inputs(forecaster.get_default_transform(), batch)

    def _inputs(
        self, transform: Callable[..., Iterable[Mapping[str, NDArray[np.generic]]]], batch: Sequence[Series]
    ) -> dict[str, Tensor]:
        """The package's own transformation: gaps filled, and marked as not observed."""
        entries = [
            {
                "target": series.target.copy(),
                "feat_dynamic_real": series.future_covariates.copy(),
                "past_feat_dynamic_real": series.past_covariates.copy(),
            }
            for series in batch
        ]
        with np.errstate(invalid="ignore"):  # the mean of nothing, before the first observed point
            made = list(transform(entries, is_train=False))
        past, known = batch[0].schema
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
    capabilities = replace(COVARIATES, covariate_gaps=True)

    def __init__(self, network: Network) -> None:
        super().__init__(PIN, cast("Sequence[float]", network.module.quantile_levels), network.context_for(1, (0, 0)))
        self._network = network

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        return self._network.context_for(horizon, schema)

    @torch.no_grad()
    def quantiles(self, batch: Sequence[Series], horizon: int) -> FloatArray:
        def answer(group: list[Series]) -> FloatArray:
            forecaster, inputs = self._network.prepare(group, horizon)
            return forecaster(**inputs).cpu().numpy()

        return by_shape(batch, answer)


class MoiraiMoE:
    min_context = min_room = 1
    batch_points = BATCH_POINTS
    capabilities = COVARIATES

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

    @torch.no_grad()
    def samples(self, batch: Sequence[Series], horizon: int, count: int = SAMPLES) -> FloatArray:
        """Shape (b, count, horizon)."""

        def answer(group: list[Series]) -> FloatArray:
            forecaster, inputs = self._network.prepare(group, horizon, patch_size=PATCH, num_samples=count)
            return forecaster(**inputs).cpu().numpy()

        return by_shape(batch, answer)

    @torch.no_grad()
    def mixture(
        self, batch: Sequence[Series], horizon: int, *, future: Tensor | None = None, step: int = 0, observed: int = 0
    ) -> list[Tensor]:
        """The distribution of patch number ``step`` of the horizon, for series of one length and schema.

        Args:
            future: shape (b, 16 * patches of the horizon), what they hold; None: what uni2ts puts there.
            observed: patches of the future that count as observed, and so in the scale, as they do in its forecast.

        Returns:
            each shape (b, 16), as the module has it before it is scaled back: four shares; freedom, place and width of
            Student's t; place and width of the narrow normal; count and logits of the negative binomial; place and
            width of the log-normal.
        """
        forecaster, inputs = self._network.prepare(batch, horizon, patch_size=PATCH)
        target, seen, *ids, predicted = forecaster._convert(PATCH, **inputs)
        first, steps = -(-len(batch[0]) // PATCH), -(-horizon // PATCH)
        if future is not None:
            target[:, first : first + steps] = future.view(len(batch), steps, PATCH)
        predicted[:, first : first + observed] = False
        sizes = torch.full(target.shape[:2], PATCH, device=target.device)
        mixture = forecaster.module(target, seen, *ids, predicted, sizes).base_dist
        t, narrow, counts, log = mixture.components
        parts = [*mixture.weights.probs.unbind(-1), t.df, t.loc, t.scale, narrow.loc, narrow.scale]
        parts += [counts.total_count, counts.logits, log.loc, log.scale]
        return [torch.as_tensor(part).expand(t.df.shape)[:, first - 1 + step] for part in parts]
