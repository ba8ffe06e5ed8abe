"""Chronos-Bolt and Chronos-2: patch transformers that answer quantiles; Chronos-2 takes covariates.

Which of the two a folder holds is read from its config.json, never from a name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from tsfm.checkpoints import read_config
from tsfm.errors import ConfigError
from tsfm.quantiles import forecasts
from tsfm.series import Capabilities, Family, Forecast, Runtime, Series
from tsfm.weights import set_threads

CARD = {
    "summary": "Chronos-Bolt and Chronos-2: patch transformers with native quantiles",
    "licence": "Apache-2.0",
    "paper": "https://arxiv.org/abs/2403.07815, https://arxiv.org/abs/2510.15821",
    "keys": ["chronos"],
    "task": "forecast",
    "paths": ["/ds_predict"],
    "port": 6038,
    "memory_mib": 450,
    "checkpoints": [
        {
            "name": "amazon/chronos-bolt-tiny",
            "parameters": 8652672,
            "bytes": 34622352,
            "files": ["config.json", "model.safetensors"],
            "capabilities": ["native_quantiles", "missing_values"],
        },
        {
            "name": "amazon/chronos-bolt-mini",
            "parameters": 21236096,
            "bytes": 84956096,
            "files": ["config.json", "model.safetensors"],
            "capabilities": ["native_quantiles", "missing_values"],
        },
        {
            "name": "amazon/chronos-bolt-small",
            "parameters": 47718016,
            "bytes": 190888824,
            "files": ["config.json", "model.safetensors"],
            "capabilities": ["native_quantiles", "missing_values"],
        },
        {
            "name": "amazon/chronos-bolt-base",
            "parameters": 205292928,
            "bytes": 821203576,
            "files": ["config.json", "model.safetensors"],
            "capabilities": ["native_quantiles", "missing_values"],
        },
        {
            "name": "amazon/chronos-2",
            "parameters": 119477664,
            "bytes": 477930472,
            "files": ["config.json", "model.safetensors"],
            "capabilities": ["past_covariates", "future_covariates", "native_quantiles", "missing_values"],
        },
    ],
    "requirements": [
        "chronos-forecasting==2.3.2",
        "transformers==4.57.6",
        "tokenizers==0.22.2",
        "huggingface-hub==0.36.2",
        "pandas==2.3.3",
        "einops==0.8.2",
    ],
    "dropped": ["accelerate", "hf-xet"],
}


def load(folder: Path | None, runtime: Runtime) -> Family:
    """The checkpoint in ``folder`` (config.json, model.safetensors).

    Raises:
        ConfigError: the folder holds something else.
    """
    if folder is None:
        raise ConfigError("chronos: expected a folder with a checkpoint, got none")
    kind = read_config(folder).get("chronos_pipeline_class")
    if kind not in ("ChronosBoltPipeline", "Chronos2Pipeline"):
        raise ConfigError(f"{folder}: expected a Chronos-Bolt or Chronos-2 checkpoint, found {kind}")
    set_threads(runtime.threads)
    from chronos import BaseChronosPipeline

    pipeline = BaseChronosPipeline.from_pretrained(str(folder), torch_dtype=torch.float32)
    return Bolt(pipeline) if kind == "ChronosBoltPipeline" else Chronos2(pipeline)


class Bolt:
    """The official Chronos-Bolt behind our interface."""

    min_context = 1
    capabilities = Capabilities(native_quantiles=True, missing_values=True)
    path = "float32"

    def __init__(self, pipeline: object) -> None:
        self._pipeline = pipeline
        self._trained: list[float] = pipeline.quantiles  # type: ignore[attr-defined]
        self.max_context: int = pipeline.model_context_length  # type: ignore[attr-defined]
        self.batch_points = 16 * self.max_context

    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        # One array, shorter series led by NaN: the official package would do the same, row by row.
        longest = max(map(len, batch))
        rows = np.full((len(batch), longest), np.nan, np.float32)
        for row, series in zip(rows, batch, strict=True):
            row[longest - len(series) :] = series.target
        answers = self._pipeline.predict(torch.from_numpy(rows), prediction_length=horizon)  # type: ignore[attr-defined]
        return forecasts(self._trained, answers.numpy(), levels)


class Chronos2(Bolt):
    """The official Chronos-2 behind our interface."""

    capabilities = Capabilities(
        past_covariates=True, future_covariates=True, native_quantiles=True, missing_values=True
    )

    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        inputs = [_inputs(series, horizon) for series in batch]
        answers = self._pipeline.predict(inputs, prediction_length=horizon)  # type: ignore[attr-defined]
        return forecasts(self._trained, np.stack([answer[0].numpy() for answer in answers]), levels)


def _inputs(series: Series, horizon: int) -> dict[str, object]:
    past = {f"p{i}": row for i, row in enumerate(series.past_covariates)}
    known = {f"f{i}": row for i, row in enumerate(series.future_covariates)}
    return {
        "target": series.target,
        "past_covariates": past | {name: row[:-horizon] for name, row in known.items()},
        "future_covariates": {name: row[-horizon:] for name, row in known.items()},
    }
