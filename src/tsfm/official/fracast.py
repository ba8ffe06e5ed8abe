"""Fracast-0 through fracast 0.1.0 (``FracastModel.forecast_batch``), with the weights in the package or a folder.

The package masks gaps, cuts a context to its window and refuses series with fewer than 8 observed points. It adds an
absolute epsilon to the range of a series, so small units are flattened.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from tsfm.official._adapter import Quantiled, loading
from tsfm.series import Capabilities, FloatArray, Runtime, Series

PIN = "fracast==0.1.0"
ENVIRONMENT = {"dropped": ["huggingface-hub"]}


class Package(Protocol):
    """What is used of ``FracastModel``."""

    quantiles: list[float]
    context_length: int

    def forecast_batch(self, context: FloatArray, *, horizon: int) -> FloatArray: ...


def load(folder: Path | None, runtime: Runtime) -> Fracast:
    """The model in ``folder`` (config.json, model.safetensors), or the one in the package, in full float32.

    Raises:
        ConfigError: the package is not installed, or does not load the folder.
    """
    with loading(PIN, folder, runtime):
        from fracast import FracastModel

        return Fracast(FracastModel.from_pretrained(folder, weights="fp32", device=runtime.device))


class Fracast(Quantiled):
    min_context = min_room = 8
    capabilities = Capabilities(native_quantiles=True, missing_values=True)

    def __init__(self, package: Package) -> None:
        super().__init__(PIN, package.quantiles, package.context_length)
        self._package = package

    def quantiles(self, batch: Sequence[Series], horizon: int) -> FloatArray:
        """Shorter series are padded in front with NaN, which the package masks."""
        longest = max(map(len, batch))
        rows = np.full((len(batch), longest), np.nan, np.float32)
        for row, series in zip(rows, batch, strict=True):
            row[longest - len(series) :] = series.target
        return self._package.forecast_batch(rows, horizon=horizon).swapaxes(1, 2)
