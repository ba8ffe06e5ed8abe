"""MOMENT-1 through momentfm 0.1.4 (``MOMENTPipeline`` for reconstruction).

The pipeline takes one window, 512 points in the published checkpoints, and masks every patch of 8 points that has a
gap. It does not split longer series into windows, and it does not check that a window has a whole patch: without one,
the model sees nothing. It adds an absolute epsilon to the deviation, so small units are flattened.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from tsfm.errors import BadRequest
from tsfm.official._adapter import loading_folder, path
from tsfm.series import Capabilities, FloatArray, Runtime, Series

PIN = "momentfm==0.1.4"


def load(folder: Path | None, runtime: Runtime) -> Moment:
    """The checkpoint in ``folder`` (config.json, model.safetensors).

    Raises:
        ConfigError: the package is not installed, or does not load the folder.
    """
    with loading_folder(PIN, folder, runtime) as checkpoint:
        from momentfm import MOMENTPipeline

        pipeline = MOMENTPipeline.from_pretrained(str(checkpoint), model_kwargs={"task_name": "reconstruction"})
        pipeline.init()
        return Moment(pipeline.to(runtime.device).eval(), int(pipeline.seq_len), runtime.device)


class Moment:
    min_context = 1
    capabilities = Capabilities(imputation=True, missing_values=True)

    def __init__(self, pipeline: torch.nn.Module, window: int, device: str) -> None:
        self._pipeline, self._device = pipeline, device
        self.max_context = window
        self.batch_points = 16 * window
        self.path = path(PIN)

    def impute(self, batch: Sequence[Series]) -> list[FloatArray]:
        """The reconstruction in the gaps, the observed values elsewhere.

        Raises:
            BadRequest: a series is longer than the window.
        """
        pairs = zip(batch, self.reconstruct(batch), strict=True)
        return [np.where(np.isnan(series.target), made, series.target) for series, made in pairs]

    @torch.no_grad()
    def reconstruct(self, batch: Sequence[Series]) -> list[FloatArray]:
        """What the pipeline makes of every point, each shape (n,); shorter series are padded in front."""
        window = self.max_context
        values, observed, inside = (np.zeros((len(batch), window), np.float32) for _ in range(3))
        observed[:] = 1
        for row, series in enumerate(batch):
            if len(series) > window:
                raise BadRequest(f"input: expected at most {window} points, one window of {PIN}, got {len(series)}")
            part = slice(window - len(series), window)
            values[row, part] = np.nan_to_num(series.target)
            observed[row, part] = ~np.isnan(series.target)
            inside[row, part] = 1
        x, mask, input_mask = (torch.from_numpy(part).to(self._device) for part in (values, observed, inside))
        answer = self._pipeline(x_enc=x[:, None], mask=mask, input_mask=input_mask).reconstruction[:, 0].cpu().numpy()
        return [made[window - len(series) :] for made, series in zip(answer, batch, strict=True)]
