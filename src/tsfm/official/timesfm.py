"""TimesFM 2.0 through timesfm 1.3.0 (``TimesFm.forecast``).

The package drops a gap at the start, interpolates inner gaps and fills a gap at the end with the last value. It scales
a series by its first patch in float32, so a constant first patch is scaled by rounding noise. It reads no
configuration, so the sizes come from the tensors.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from tsfm.numerics.quantiles import at_levels
from tsfm.official._adapter import BATCH_POINTS, loading_folder, path
from tsfm.series import Capabilities, FloatArray, Forecast, Runtime, Series
from tsfm.weights.reader import State, read_torch

PIN = "timesfm==1.3.0"
ENVIRONMENT = {
    "requirements": ["huggingface-hub==0.36.2", "utilsforecast==0.2.17"],
    "overrides": ["huggingface-hub==0.36.2"],
    "dropped": ["absl-py", "einshape", "jax", "scikit-learn", "typer", "wandb"],
}
FILE = "torch_model.ckpt"
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


def load(folder: Path | None, runtime: Runtime) -> TimesFm:
    """The checkpoint in ``folder`` (torch_model.ckpt).

    Raises:
        ConfigError: the package is not installed, or does not load the folder.
    """
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
        fed_back = (-(-horizon // STEP) - 1) * STEP
        return min(self.max_context, -(-(points + fed_back) // PATCH) * PATCH)
