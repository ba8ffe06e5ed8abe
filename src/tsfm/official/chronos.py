"""Chronos-Bolt and Chronos-2 through chronos-forecasting 2.3.2 (``BaseChronosPipeline.predict``).

The pipeline masks gaps of target and covariates itself and feeds its quantiles back beyond the horizon of one pass.
It normalises in float32, so a series that stands at 1e9 and moves by 1 loses its movement; its warning of every
horizon beyond one pass is silenced. ``predict`` takes series of any length together, but only of one schema.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from tsfm.numerics import quantiles
from tsfm.official._adapter import Quantiled, loading_folder
from tsfm.series import Capabilities, FloatArray, Forecast, Group, Runtime, Series

PIN = "chronos-forecasting==2.3.2"
ENVIRONMENT = {
    "requirements": ["transformers==4.57.6", "tokenizers==0.22.2", "huggingface-hub==0.36.2", "einops==0.8.2"],
    "dropped": ["accelerate"],
}


class Pipeline(Protocol):
    """What is used of the package's pipelines."""

    quantiles: list[float]
    model_context_length: int

    def predict(
        self, inputs: Sequence[object], prediction_length: int, **options: object
    ) -> Sequence[torch.Tensor]: ...


def load(folder: Path | None, runtime: Runtime) -> Chronos:
    """The checkpoint in ``folder`` (config.json, model.safetensors).

    Raises:
        ConfigError: the package is not installed, or does not load the folder.
    """
    with loading_folder(PIN, folder, runtime) as checkpoint:
        from chronos import BaseChronosPipeline, Chronos2Pipeline

        pipeline = BaseChronosPipeline.from_pretrained(str(checkpoint), torch_dtype=torch.float32)
        pipeline.model.to(runtime.device)
    warnings.filterwarnings("ignore", "We recommend keeping prediction length")
    logging.getLogger("chronos").setLevel(logging.ERROR)
    return Chronos(pipeline, isinstance(pipeline, Chronos2Pipeline))


class Chronos(Quantiled):
    """A pipeline of either kind; Chronos-2 takes covariates."""

    def __init__(self, pipeline: Pipeline, second: bool) -> None:
        super().__init__(PIN, pipeline.quantiles, pipeline.model_context_length)
        self._pipeline = pipeline
        self._input = _described if second else _target
        self.capabilities = Capabilities(
            past_covariates=second,
            future_covariates=second,
            native_quantiles=True,
            missing_values=True,
            covariate_gaps=second,
            multivariate=second,
            cross_learning=second,
        )

    def quantiles(self, batch: Sequence[Series], horizon: int) -> FloatArray:
        answers = self._pipeline.predict([self._input(series) for series in batch], prediction_length=horizon)
        return np.stack([np.asarray(answer.cpu()).reshape(-1, horizon) for answer in answers])

    def forecast_joint(self, batch: Sequence[Group], horizon: int, levels: Sequence[float]) -> list[list[Forecast]]:
        return [quantiles.forecasts(self.levels, self._together(group, horizon), levels) for group in batch]

    def _together(self, group: Group, horizon: int) -> FloatArray:
        """Quantiles of the members, shape (members, q, horizon)."""
        rows = [_rows(series, horizon) for series in group.members]
        answers = self._pipeline.predict(rows, horizon, cross_learning=True, batch_size=group.rows)
        return np.concatenate([np.asarray(answer.cpu()) for answer in answers])


def _target(series: Series) -> object:
    return torch.tensor(series.target, dtype=torch.float32)


def _rows(series: Series, horizon: int) -> dict[str, object]:
    """The package's own form of one task, in which tasks of several schemas may stand together."""
    (past, future), points = series.schema, len(series)
    known = [row[:points] for row in series.future_covariates]
    ahead = np.full((1 + past + future, horizon), np.nan, np.float32)
    for at, row in enumerate(series.future_covariates, start=1 + past):
        ahead[at] = row[points:]
    return {
        "context": torch.tensor(np.stack([series.target, *series.past_covariates, *known]), dtype=torch.float32),
        "future_covariates": torch.from_numpy(ahead),
        "n_targets": 1,
        "n_covariates": past + future,
        "n_future_covariates": future,
    }


def _described(series: Series) -> object:
    """Target and covariates by name; ``past_covariates`` also holds the past of those that are known ahead."""
    future = {f"known{i}": row for i, row in enumerate(series.future_covariates)}
    past = {f"past{i}": row for i, row in enumerate(series.past_covariates)}
    return {
        "target": series.target,
        "past_covariates": past | {name: row[: len(series)] for name, row in future.items()},
        "future_covariates": {name: row[len(series) :] for name, row in future.items()},
    }
