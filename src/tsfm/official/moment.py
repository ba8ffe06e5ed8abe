"""MOMENT-1 through momentfm 0.1.4 (``MOMENTPipeline`` for reconstruction).

The pipeline takes one window, 512 points in the published checkpoints, and masks every patch of 8 points that has a
gap. It does not split longer series into windows, and it does not check that a window has a whole patch: without one,
the model sees nothing. So ``numerics.windows`` does both around it. The pipeline adds an absolute epsilon to the
deviation, so small units are flattened.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from tsfm.numerics import windows
from tsfm.official._adapter import loading_folder, path
from tsfm.series import Capabilities, FloatArray, Runtime, Series

PIN = "momentfm==0.1.4"
ENVIRONMENT = {
    "requirements": ["transformers==4.57.6", "huggingface-hub==0.36.2"],
    "overrides": ["transformers==4.57.6", "huggingface-hub==0.36.2", "numpy==2.4.6"],
}


def load(folder: Path | None, runtime: Runtime) -> Moment:
    """The checkpoint in ``folder`` (config.json, model.safetensors).

    Raises:
        ConfigError: the package is not installed, or does not load the folder.
    """
    with loading_folder(PIN, folder, runtime) as checkpoint:
        from momentfm import MOMENTPipeline

        pipeline = MOMENTPipeline.from_pretrained(str(checkpoint), model_kwargs={"task_name": "reconstruction"})
        pipeline.init()
        return Moment(pipeline.to(runtime.device).eval(), int(pipeline.seq_len), pipeline.patch_len, runtime.device)


class Moment:
    max_context = windows.MOST_POINTS
    min_context = 1
    capabilities = Capabilities(imputation=True, missing_values=True)

    def __init__(self, pipeline: torch.nn.Module, window: int, patch: int, device: str) -> None:
        self._pipeline, self._window, self._patch, self._device = pipeline, window, patch, device
        self.batch_points = 16 * window
        self.path = path(PIN)

    def impute(self, batch: Sequence[Series]) -> list[FloatArray]:
        """The reconstruction in the gaps, the observed values elsewhere."""
        return windows.fill([series.target for series in batch], self.reconstruct, self._window, self._patch)

    @torch.no_grad()
    def reconstruct(self, targets: Sequence[FloatArray]) -> list[FloatArray]:
        """What the pipeline makes of every point, each shape (n,); shorter windows are padded in front."""
        values, observed, inside = (np.zeros((len(targets), self._window), np.float32) for _ in range(3))
        observed[:] = 1
        for row, target in enumerate(targets):
            part = slice(self._window - len(target), self._window)
            values[row, part] = np.nan_to_num(target)
            observed[row, part] = ~np.isnan(target)
            inside[row, part] = 1
        x, mask, input_mask = (torch.from_numpy(part).to(self._device) for part in (values, observed, inside))
        answer = self._pipeline(x_enc=x[:, None], mask=mask, input_mask=input_mask).reconstruction[:, 0].cpu().numpy()
        return [made[self._window - len(target) :] for made, target in zip(answer, targets, strict=True)]
