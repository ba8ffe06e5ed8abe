"""TimesFM 2.0 through timesfm 1.3.0 (``TimesFm.forecast``), and 2.5 through timesfm 3.0.2.

1.3.0 drops a gap at the start, interpolates inner gaps and fills a gap at the end with the last value. It scales
a series by its first patch in float32, so a constant first patch is scaled by rounding noise. It reads no
configuration, so the sizes come from the tensors.

3.0.2 has the same module name, so it needs an environment of its own: ``make reference FAMILY=timesfm`` makes one. Its
``TimesFM_2p5_200M_torch.forecast`` runs here with the settings of the model card, without ``infer_is_positive``: a
model is given centred series.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from tsfm.errors import ConfigError
from tsfm.numerics.quantiles import at_levels, forecasts
from tsfm.official._adapter import BATCH_POINTS, loading_folder, path
from tsfm.series import Capabilities, FloatArray, Forecast, Runtime, Series
from tsfm.weights.reader import State, read_torch, read_weights

PIN = "timesfm==1.3.0"
PIN_25 = "timesfm==3.0.2"
ENVIRONMENT = {
    "requirements": ["huggingface-hub==0.36.2", "utilsforecast==0.2.17"],
    "overrides": ["huggingface-hub==0.36.2"],
    "dropped": ["absl-py", "einshape", "jax", "scikit-learn", "typer", "wandb"],
}
FILE, FILE_25 = "torch_model.ckpt", "model.safetensors"
PATCH, STEP = 32, 128  # points of a patch, and of the forecast of one pass


class Package(Protocol):
    """What is used of ``timesfm.TimesFm``."""

    quantiles: Sequence[float]
    context_len: int
    horizon_len: int
    global_batch_size: int

    def forecast(
        self, inputs: list[FloatArray], freq: list[int], *, return_forecast_on_context: bool
    ) -> tuple[FloatArray, FloatArray]: ...


def load(folder: Path | None, runtime: Runtime) -> TimesFm | TimesFm25:
    """The checkpoint in ``folder``: model.safetensors of 2.5, else torch_model.ckpt of 2.0.

    Raises:
        ConfigError: the package is not installed, or does not load the folder.
    """
    if folder is not None and (folder / FILE_25).exists():
        return _load_25(folder, runtime)
    with loading_folder(PIN, folder, runtime) as checkpoint:
        import timesfm

        width, layers, heads = _sizes(read_torch(checkpoint / FILE))
        hparams = timesfm.TimesFmHparams(
            backend="cpu" if runtime.device == "cpu" else "gpu",
            per_core_batch_size=1,
            num_layers=layers,
            num_heads=heads,
            model_dims=width,
            use_positional_embedding=False,
        )
        weights = timesfm.TimesFmCheckpoint(version="torch", path=str(checkpoint / FILE))
        return TimesFm(timesfm.TimesFm(hparams=hparams, checkpoint=weights))


def _sizes(state: State) -> tuple[int, int, int]:
    """Width, layers and heads."""
    _, width = state.shape("freq_emb.weight", 2)
    (head,) = state.shape("stacked_transformer.layers.0.self_attn.scaling", 1)
    layers = 1
    while f"stacked_transformer.layers.{layers}.self_attn.scaling" in state:
        layers += 1
    return width, layers, width // head


def _load_25(folder: Path, runtime: Runtime) -> TimesFm25:
    with loading_folder(PIN_25, folder, runtime) as checkpoint:
        import timesfm

        if not hasattr(timesfm, "TimesFM_2p5_200M_torch"):
            raise ConfigError(f"{folder}: TimesFM 2.5 needs {PIN_25}, found timesfm {version('timesfm')}")
        from timesfm.timesfm_2p5 import timesfm_2p5_torch as package

        with torch.device("meta"):  # no weights are made only to be replaced
            model = timesfm.TimesFM_2p5_200M_torch(torch_compile=False)
        found = _definition_25(read_weights(checkpoint), package.TimesFM_2p5_200M_torch_module.config)
        model.model = type("Sized", (package.TimesFM_2p5_200M_torch_module,), {"config": found})()
        model.load_checkpoint(str(checkpoint))
        return TimesFm25(model, timesfm.ForecastConfig)


def _definition_25(state: State, usual: Any) -> Any:
    """The package's own definition of the network with the sizes of a checkpoint."""
    hidden, width = state.shape("stacked_xf.0.ff0.weight", 2)
    (head,) = state.shape("stacked_xf.0.attn.query_ln.scale", 1)
    layers = 1
    while f"stacked_xf.{layers}.ff0.weight" in state:
        layers += 1
    layer = usual.stacked_transformers.transformer
    layer = replace(layer, model_dims=width, hidden_dims=hidden, num_heads=width // head)
    return replace(
        usual,
        tokenizer=replace(usual.tokenizer, hidden_dims=hidden, output_dims=width),
        stacked_transformers=replace(usual.stacked_transformers, num_layers=layers, transformer=layer),
        output_projection_point=replace(usual.output_projection_point, input_dims=width, hidden_dims=hidden),
        output_projection_quantiles=replace(usual.output_projection_quantiles, input_dims=width, hidden_dims=hidden),
    )


class TimesFm:
    max_context = 2048
    min_context = min_room = 1
    batch_points = BATCH_POINTS
    capabilities = Capabilities(native_quantiles=True)  # gaps are interpolated

    def __init__(self, package: Package) -> None:
        self._package = package
        self.levels = list(package.quantiles)
        self.path = path(PIN)

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        return self.max_context

    def forecast(
        self, batch: Sequence[Series], horizon: int, levels: Sequence[float], *, frequency: int = 0
    ) -> list[Forecast]:
        """The package's point forecast, which is its median, and its nine quantiles read at the levels.

        ``frequency``: 0 for high frequency, 1 for weekly and monthly, 2 for quarterly and yearly.
        """
        package = copy.copy(self._package)  # its settings for this call; the weights are shared
        package.horizon_len = horizon
        package.context_len = self._window(max(map(len, batch)), horizon)
        package.global_batch_size = len(batch)
        inputs = [np.asarray(series.target) for series in batch]
        # With the forecasts on the context, which are cut off: where the horizon starts is fixed at the load otherwise.
        points, outputs = package.forecast(inputs, [frequency] * len(batch), return_forecast_on_context=True)
        trained = outputs[:, -horizon:, 1:].swapaxes(1, 2)
        return [
            Forecast(median, at_levels(self.levels, rows, levels))
            for median, rows in zip(points[:, -horizon:], trained, strict=True)
        ]

    def _window(self, points: int, horizon: int) -> int:
        """Points that every pass looks at and that every series is padded to: room for what is fed back."""
        fed_back = _whole(horizon, STEP) - STEP
        return min(self.max_context, _whole(points + fed_back, PATCH))


class TimesFm25:
    max_context = 16384 - STEP
    min_context = min_room = 1
    batch_points = BATCH_POINTS
    capabilities = Capabilities(native_quantiles=True)  # gaps are interpolated

    def __init__(self, package: Any, config: Any) -> None:
        self._package, self._config = package, config
        self.path = path(PIN_25)

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        return 16384 - _whole(horizon, STEP)

    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        """The package's quantiles; beyond 1,024 steps it has them from its point head only."""
        settings = self._config(
            max_context=_whole(max(map(len, batch)), PATCH),
            max_horizon=_whole(horizon, STEP),
            per_core_batch_size=len(batch),
            normalize_inputs=True,
            use_continuous_quantile_head=horizon <= 1024,
            force_flip_invariance=True,
            infer_is_positive=False,
            fix_quantile_crossing=True,
        )
        self._package.compile(settings)
        self._package.global_batch_size = len(batch)  # one call whatever the number of GPUs
        _, outputs = self._package.forecast(horizon, [np.asarray(series.target) for series in batch])
        return forecasts([i / 10 for i in range(1, 10)], outputs[..., 1:].swapaxes(1, 2), levels)


def _whole(points: int, unit: int) -> int:
    return -(-points // unit) * unit
