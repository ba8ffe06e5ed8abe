"""Time-MoE through its published modelling code, as sktime 1.2.0 brings it (``sktime.libs.timemoe``).

The code's own ``generate`` does not run with the locked transformers, so ``forecast`` is the loop of the model card
over the forward pass: normalise by mean and deviation, then feed back the output of the largest head that fits. The
code predicts points only, and has no input for gaps: quantiles are conformal, from its own forecasts at past points.
sktime's own forecaster is wrong beyond one step and is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tsfm.numerics import conformal
from tsfm.official._adapter import BATCH_POINTS, by_shape, loading_folder, path
from tsfm.series import Capabilities, FloatArray, Forecast, Runtime, Series

PIN = "sktime==1.2.0"
ENVIRONMENT = {
    "requirements": ["scikit-learn==1.9.1", "transformers==4.57.6", "huggingface-hub==0.36.2"],
    "dropped": ["accelerate"],
}


class Config(Protocol):
    max_position_embeddings: int
    horizon_lengths: Sequence[int]


class Published(Protocol):
    """What is used of ``TimeMoeForPrediction``."""

    config: Config

    def __call__(self, series: Tensor, **options: object) -> Any: ...


def load(folder: Path | None, runtime: Runtime) -> TimeMoe:
    """The checkpoint in ``folder`` (config.json, model.safetensors), in float32 as the documented call gives it.

    Raises:
        ConfigError: the package is not installed, or does not load the folder.
    """
    with loading_folder(PIN, folder, runtime) as checkpoint:
        from sktime.libs.timemoe.timemoe import TimeMoeForPrediction
        from transformers import DynamicCache

        class Cache(DynamicCache):  # type: ignore[misc]  # the package has no types
            """With the method that the modelling code calls and later transformers removed."""

            def get_usable_length(self, new_seq_length: int, layer_idx: int = 0) -> int:
                return int(self.get_seq_length(layer_idx))

        model = TimeMoeForPrediction.from_pretrained(checkpoint, dtype=torch.float32).to(runtime.device).eval()
        return TimeMoe(model, Cache, runtime.device)


class TimeMoe:
    min_context = 2  # one point has no deviation
    min_room = 2
    batch_points = BATCH_POINTS
    capabilities = Capabilities()

    def __init__(self, model: Published, cache: Callable[[], object], device: str) -> None:
        self._model, self._cache, self._device = model, cache, device
        self._positions, self._heads = model.config.max_position_embeddings, model.config.horizon_lengths
        self.max_context = self.context_for(1, (0, 0))
        self.path = path(PIN)

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        return self._positions - horizon

    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        """The code's points; the levels are conformal quantiles of its errors at past points."""
        rows = by_shape(batch, lambda group: self._rows(group, horizon, levels))
        return [Forecast(row[0], row[1:]) for row in rows]

    @torch.no_grad()
    def _rows(self, group: Sequence[Series], horizon: int, levels: Sequence[float]) -> FloatArray:
        """Points and quantiles of series of one length, shape (b, 1 + len(levels), horizon)."""
        targets = torch.from_numpy(np.stack([series.target for series in group]).astype(np.float32)).to(self._device)
        mean, deviation = targets.mean(-1, keepdim=True), targets.std(-1, keepdim=True)
        deviation = deviation.where(deviation > 0, 1.0)  # the newest part of a cut series may be constant
        normal = (targets - mean) / deviation
        points = self._points(normal, horizon)
        past = self._past(normal, horizon) if conformal.needed(levels) else np.empty((len(group), 0, 1), np.float32)
        origins = np.arange(normal.shape[1] - past.shape[1], normal.shape[1])
        rows = [
            np.vstack((point, conformal.intervals(history, origins, made, point, levels, series.filled)))
            for series, history, made, point in zip(group, normal.cpu().numpy(), past, points, strict=True)
        ]
        answer: FloatArray = np.stack(rows) * deviation[..., None].cpu().numpy() + mean[..., None].cpu().numpy()
        return answer

    def _points(self, normal: Tensor, horizon: int) -> FloatArray:
        """Shape (b, n) to (b, horizon)."""
        new, cache, made = normal[..., None], self._cache(), torch.empty(len(normal), 0)
        while (left := horizon - made.shape[1]) > 0:
            answer = self._model(new, past_key_values=cache, use_cache=True, max_horizon_length=left, return_dict=True)
            cache, new = answer.past_key_values, answer.logits[:, -1].reshape(len(normal), -1, 1)
            made = torch.cat([made.to(new.device), new[..., 0]], 1)
        points: FloatArray = made[:, :horizon].cpu().numpy()
        return points

    def _past(self, normal: Tensor, horizon: int) -> FloatArray:
        """Forecasts made at past points, shape (b, points, leads): of the first step's head, then of a longer one."""
        reach = min(horizon, max(self._heads))
        leads = self._at_every_point(normal, horizon)
        if (first := leads.shape[-1]) < reach:
            longer = self._at_every_point(normal, min(head for head in self._heads if head >= reach))
            leads = torch.cat([leads, longer[..., first:reach]], -1)
        past: FloatArray = leads[:, conformal.warm_up(normal.shape[1]) :].cpu().numpy()
        return past

    def _at_every_point(self, normal: Tensor, longest: int) -> Tensor:
        """Shape (b, n, leads), of the head that the code takes for at most so many steps."""
        answer = self._model(normal[..., None], use_cache=False, max_horizon_length=longest, return_dict=True)
        leads: Tensor = answer.logits
        return leads
