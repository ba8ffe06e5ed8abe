"""Time-MoE through its published modelling code, as sktime 1.2.0 brings it (``sktime.libs.timemoe``).

The code's own ``generate`` does not run with the locked transformers, so ``forecast`` is the loop of the model card
over the forward pass: normalise by mean and deviation, then feed back the output of the largest head that fits. The
code predicts points only, has no input for gaps, and returns NaN for a constant series. sktime's own forecaster is
wrong beyond one step and is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from tsfm.errors import BadRequest
from tsfm.official._adapter import BATCH_POINTS, by_shape, loading_folder, path
from tsfm.series import Capabilities, FloatArray, Forecast, Runtime, Series

PIN = "sktime==1.2.0"


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

        model = TimeMoeForPrediction.from_pretrained(checkpoint, torch_dtype=torch.float32).to(runtime.device).eval()
        return TimeMoe(model, model.config.max_position_embeddings, Cache, runtime.device)


class TimeMoe:
    min_context = 2  # one point has no deviation
    min_room = 2
    batch_points = BATCH_POINTS
    capabilities = Capabilities()

    def __init__(self, model: torch.nn.Module, positions: int, cache: Callable[[], object], device: str) -> None:
        self._model, self._positions, self._cache, self._device = model, positions, cache, device
        self.max_context = self.context_for(1, (0, 0))
        self.path = path(PIN)

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        return self._positions - horizon

    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        """Points alone.

        Raises:
            BadRequest: a level is asked for.
        """
        if levels:
            raise BadRequest(f"levels: expected none, as the code of {PIN} predicts points only, got {list(levels)}")
        points = by_shape(batch, lambda group: self._points(np.stack([series.target for series in group]), horizon))
        return [Forecast(row, np.empty((0, horizon))) for row in points]

    @torch.no_grad()
    def _points(self, targets: FloatArray, horizon: int) -> FloatArray:
        """Shape (b, n) to (b, horizon)."""
        series = torch.from_numpy(targets.astype(np.float32)).to(self._device)
        mean, deviation = series.mean(-1, keepdim=True), series.std(-1, keepdim=True)
        new, cache, made = ((series - mean) / deviation)[..., None], self._cache(), torch.empty(len(series), 0)
        while (left := horizon - made.shape[1]) > 0:
            answer = self._model(new, past_key_values=cache, use_cache=True, max_horizon_length=left, return_dict=True)
            cache, new = answer.past_key_values, answer.logits[:, -1].reshape(len(series), -1, 1)
            made = torch.cat([made.to(new.device), new[..., 0]], 1)
        points: FloatArray = (made[:, :horizon] * deviation + mean).cpu().numpy()
        return points
