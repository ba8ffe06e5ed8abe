"""Time-MoE: a decoder over single points with a mixture of experts, from the official weights.

Our own network reads the official tensor names; no code that comes with a checkpoint is run. In
float32 it equals the official ``TimeMoeForPrediction``, called in a loop as its ``generate`` does:
each step uses the largest horizon head that still fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsfm import weights
from tsfm.checkpoints import read_config
from tsfm.errors import ConfigError
from tsfm.nets.decoder import Cache, spans
from tsfm.nets.timemoe import Network, Shape
from tsfm.series import Capabilities, Forecast, Runtime, Series

CARD = {
    "summary": "Decoder with a mixture of experts, one token per point, pretrained on 300 billion points",
    "licence": "Apache-2.0",
    "paper": "Shi et al., Time-MoE: Billion-Scale Time Series Foundation Models with Mixture of Experts, ICLR 2025",
    "keys": ["timemoe-fc"],
    "task": "forecast",
    "paths": ["/ds_predict", "/timemoe"],
    "port": 6037,
    "memory_mib": 700,
    "checkpoints": [
        {
            "name": "Maple728/TimeMoE-50M",
            "parameters": 113_350_272,
            "bytes": 226_760_971,
            "files": ["config.json", "model.safetensors"],
            "capabilities": [],
        },
        {
            "name": "Maple728/TimeMoE-200M",
            "parameters": 453_194_496,
            "bytes": 906_450_811,
            "files": ["config.json", "model.safetensors"],
            "capabilities": [],
        },
    ],
    "requirements": ["safetensors==0.8.0"],
}

PACK = 1024  # tokens of several series in one pass; more gain nothing and need more memory


def load(folder: Path | None, runtime: Runtime) -> TimeMoe:
    """Load ``config.json`` and ``model.safetensors`` from the folder.

    Raises:
        ConfigError: not a Time-MoE checkpoint; the sentence says what was expected and found.
    """
    if folder is None:
        raise ConfigError("family timemoe: expected a folder with its checkpoint, got none")
    shape = _shape(folder)
    dtype, path = weights.arithmetic(runtime)
    weights.set_threads(runtime.threads)
    state = weights.read_safetensors(folder / "model.safetensors")
    network = Network(shape, state, dtype, runtime.device)
    state.finish()
    return TimeMoe(network, path)


class TimeMoe:
    """The adapter. Context and horizon share the positions that the model was trained on."""

    min_context = 1
    batch_points = 4096
    capabilities = Capabilities()

    def __init__(self, network: Network, path: str) -> None:
        self._network = network
        self._positions = network.shape.max_position_embeddings
        self.max_context = self._positions - 1  # further cut so that context + horizon fit
        self.path = path

    @torch.inference_mode()
    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        contexts = [torch.tensor(series.newest(self._positions - horizon).target) for series in batch]
        centre = torch.stack([context.mean() for context in contexts])
        spread = torch.stack([_spread(context) for context in contexts])
        normal = [(x - c) / s for x, c, s in zip(contexts, centre, spread, strict=True)]
        points = self._points(normal, horizon)
        median = (points * spread[:, None] + centre[:, None]).numpy()
        return [Forecast(row, np.repeat(row[None], len(levels), 0)) for row in median]

    def _points(self, contexts: Sequence[Tensor], horizon: int) -> Tensor:
        """Point forecasts of normalised series, shape (series, horizon)."""
        network, device = self._network, self._network.device
        steps = schedule(network.shape.horizon_lengths, horizon)
        caches = [network.cache(len(context) + horizon) for context in contexts]
        rows = [self._context(c, cache) for c, cache in zip(contexts, caches, strict=True)]
        hidden = torch.cat(rows)
        made: list[Tensor] = []
        for step in steps:
            if made:
                new = made[-1]
                packed = spans([new.shape[1]] * len(new), caches)
                hidden = network.hidden(new.flatten(), packed)
            made.append(network.head(hidden, step))
        return torch.cat(made, 1)[:, :horizon].cpu()

    def _context(self, context: Tensor, cache: Cache) -> Tensor:
        return self._network.hidden(context.to(self._network.device), spans([len(context)], [cache]))


def schedule(heads: Sequence[int], horizon: int) -> list[int]:
    """Which heads make a forecast: always the largest that fits, or the first where none does."""
    steps: list[int] = []
    while (left := horizon - sum(steps)) > 0:
        steps.append(max((head for head in heads if head <= left), default=heads[0]))
    return steps


def _spread(context: Tensor) -> Tensor:
    # What is left of a series after cutting may be constant: any spread restores its constant.
    spread = context.std() if len(context) > 1 else torch.zeros(())
    return torch.where(spread > 0, spread, torch.ones(()))


def _shape(folder: Path) -> Shape:
    path, config = folder / "config.json", read_config(folder)
    # Other values exist in the official code, but no published checkpoint has them.
    heads = config.get("num_attention_heads")
    fixed = {"model_type": "time_moe", "hidden_act": "silu", "input_size": 1, "use_dense": False}
    for name, value in {**fixed, "num_key_value_heads": heads}.items():
        if config.get(name, value) != value or (name == "model_type" and name not in config):
            raise ConfigError(f"{path}: {name}: expected {value!r}, found {config.get(name)!r}")
    horizons = config.get("horizon_lengths")
    if not isinstance(horizons, list) or not horizons:
        raise ConfigError(f"{path}: horizon_lengths: expected a list of whole numbers, found {horizons!r}")
    values: dict[str, Any] = {"horizon_lengths": tuple(_positive(path, "horizon_lengths", h) for h in horizons)}
    for field in fields(Shape):
        if field.name not in values:
            values[field.name] = _positive(path, field.name, config.get(field.name), field.type == "int")
    return Shape(**values)


def _positive(path: Path, name: str, value: object, whole: bool = True) -> float:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or value <= 0:
        kind = "a whole number" if whole else "a number"
        raise ConfigError(f"{path}: {name}: expected {kind} above 0, found {value!r}")
    return value
