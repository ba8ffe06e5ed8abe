"""FlowState through granite-tsfm 0.3.11 (``FlowStateForPrediction``), with the scale that a season of 24 points has.

The package takes series of one length and one scale together. It answers too few steps where the horizon is one step
short of a whole number of seasons, and fails where a long horizon at a short season leaves no room for the context.
Its ``__init__`` imports datasets and scikit-learn for training; only the model's own modules are imported here.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
import torch

from tsfm.numerics.backtest import season_of
from tsfm.official._adapter import Quantiled, loading_folder
from tsfm.series import Capabilities, FloatArray, Runtime, Series

PIN = "granite-tsfm==0.3.11"
ENVIRONMENT = {
    "requirements": ["transformers==4.57.6", "huggingface-hub==0.36.2"],
    "overrides": ["torch==2.13.0", "transformers==4.57.6", "huggingface-hub==0.36.2", "scikit-learn==1.9.1"],
    "dropped": ["accelerate", "datasets", "deprecated"],
}
SEASON, SHORTEST = 24, 4
MOST_POINTS = 16 * 1024


class Answer(Protocol):
    quantile_outputs: torch.Tensor


class Settings(Protocol):
    """What is used of ``FlowStateConfig``."""

    quantiles: list[float]
    scale_factor: float


class Package(Protocol):
    """What is used of ``FlowStateForPrediction``."""

    config: Settings

    def to(self, device: str) -> Package: ...

    def eval(self) -> Package: ...

    def __call__(
        self, past_values: torch.Tensor, *, scale_factor: float, prediction_length: int, batch_first: bool
    ) -> Answer: ...


class Published(Protocol):
    """What is used of the class ``FlowStateForPrediction``."""

    def from_pretrained(self, folder: str) -> Package: ...


def load(folder: Path | None, runtime: Runtime) -> FlowState:
    """The checkpoint in ``folder`` (config.json, model.safetensors).

    Raises:
        ConfigError: the package is not installed, or does not load the folder.
    """
    with loading_folder(PIN, folder, runtime) as checkpoint:
        return FlowState(published().from_pretrained(str(checkpoint)).to(runtime.device).eval(), runtime.device)


def published() -> Published:
    """Import the class ``FlowStateForPrediction`` without the ``__init__`` of the package around it."""
    name = "tsfm_public"
    if name not in sys.modules or sys.modules[name] is None:
        found = find_spec(name)
        if not found or not found.submodule_search_locations:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        package = ModuleType(name)
        package.__path__ = list(found.submodule_search_locations)
        sys.modules[name] = package
    from tsfm_public.models.flowstate.modeling_flowstate import FlowStateForPrediction

    model: Published = FlowStateForPrediction
    return model


class FlowState(Quantiled):
    """``FlowStateForPrediction``, called once for all series of one length and scale."""

    min_context = min_room = 2
    capabilities = Capabilities(native_quantiles=True, missing_values=True)

    def __init__(self, package: Package, device: str) -> None:
        super().__init__(PIN, package.config.quantiles, MOST_POINTS)
        self._package, self._device = package, device

    @torch.inference_mode()
    def quantiles(self, batch: Sequence[Series], horizon: int) -> FloatArray:
        groups: dict[tuple[int, float], list[int]] = defaultdict(list)
        for index, series in enumerate(batch):
            groups[len(series), self._scale(series)].append(index)
        rows: dict[int, FloatArray] = {}
        for (_, scale), indices in groups.items():
            past = torch.from_numpy(np.stack([batch[index].target for index in indices])).float()[:, :, None]
            answer = self._package(
                past.to(self._device), scale_factor=scale, prediction_length=horizon, batch_first=True
            )
            rows |= dict(zip(indices, answer.quantile_outputs[..., 0].cpu().numpy(), strict=True))
        return np.stack([rows[index] for index in range(len(batch))])

    def _scale(self, series: Series) -> float:
        season = series.season or season_of(series.target)
        scale = SEASON / season if season >= SHORTEST else self._package.config.scale_factor
        return scale * (1 - 1e-9)  # the package cuts 24 / scale to whole steps, with and without a tolerance
