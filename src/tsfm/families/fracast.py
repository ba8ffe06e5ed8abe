"""Fracast-0, the embedded default: 85,001 parameters of convolutions, the weights in its own package.

Reads the tensors of ``fracast`` 0.1.0 and answers its nine quantiles; longer horizons than 48 by the
package's own rule, ``FracastModel._forecast_rows``: the median is appended and the window moves on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fracast import FracastModel

from tsfm.errors import ConfigError
from tsfm.quantiles import at_levels
from tsfm.series import Capabilities, Forecast, Runtime, Series
from tsfm.weights import set_threads

CARD = {
    "summary": "Fracast-0: embedded default, needs no download",
    "licence": "Apache-2.0",
    "paper": "https://github.com/ztxtech/fracast-0",
    "keys": ["fracast"],
    "task": "forecast",
    "paths": ["/ds_predict"],
    "port": 6076,
    "memory_mib": 350,
    "requirements": ["fracast==0.1.0", "safetensors==0.8.0"],
    "dropped": ["huggingface-hub"],
}


def load(folder: Path | None, runtime: Runtime) -> Fracast:
    """The model in ``folder`` (config.json, model.safetensors), or the one in the package.

    Raises:
        ConfigError: the folder holds something else.
    """
    set_threads(runtime.threads)
    try:
        return Fracast(FracastModel.from_pretrained(folder, weights="fp32", device=runtime.device))
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{folder}: expected Fracast weights, found: {error}") from error


class Fracast:
    """The official model behind our interface."""

    min_context = 8
    capabilities = Capabilities(native_quantiles=True, missing_values=True)
    path = "float32"

    def __init__(self, model: FracastModel) -> None:
        self._model = model
        self.max_context = model.context_length
        self.batch_points = 32 * self.max_context

    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        longest = max(len(series) for series in batch)
        rows = np.full((len(batch), longest), np.nan, np.float32)
        for row, series in zip(rows, batch, strict=True):
            row[longest - len(series) :] = series.target
        answers = self._model.forecast_batch(rows, horizon=horizon).swapaxes(1, 2)
        trained = self._model.quantiles
        return [
            Forecast(at_levels(trained, answer, [0.5])[0], at_levels(trained, answer, levels))
            for answer in answers
        ]
