"""Fracast-0, the embedded default: a convolutional network of 85,001 parameters; its package holds the weights.

Returns the nine quantiles of ``fracast`` 0.1.0, number for number (``tsfm.nets.fracast``). Beyond 48
steps it follows ``FracastModel._forecast_rows``: the median is appended, the window moves forward and is
normalised again. It always computes in float32: bfloat16 gains nothing at this size.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from tsfm.nets.devices import moved
from tsfm.nets.fracast import FracastNet, Sizes
from tsfm.numerics import quantiles
from tsfm.series import Capabilities, FloatArray, Forecast, Runtime, Series
from tsfm.weights.configuration import Config
from tsfm.weights.reader import read_weights

CARD = {
    "summary": "Fracast-0: embedded default, needs no download",
    "licence": "Apache-2.0",
    "commercial": "yes",
    "year": 2026,
    "paper": "https://github.com/ztxtech/fracast-0",
    "keys": ["fracast"],
    "task": "forecast",
    "paths": ["/ds_predict"],
    "port": 6076,
    "memory_mib": 300,
    "requirements": ["fracast==0.1.0", "safetensors==0.8.0"],
    "dropped": ["huggingface-hub"],
}


def load(folder: Path | None, runtime: Runtime) -> Fracast:
    """Load the model in ``folder`` (config.json, model.safetensors), or the one in the package.

    Raises:
        ConfigError: the folder holds something else.
    """
    folder = folder or _packaged()
    sizes = Sizes.read(Config.read(folder))
    state = read_weights(folder)
    # The weights are too small for mapping; a copy is aligned in memory.
    net = FracastNet(sizes, lambda name, shape: state.take(name, shape).to(runtime.device, torch.float32, copy=True))
    state.finish()
    return Fracast(net, runtime.device)


def _packaged() -> Path:
    # Located without an import: the package would load torch's compiler and pandas, which takes seconds.
    found = find_spec("fracast")
    if not found or not found.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'fracast'", name="fracast")
    return Path(found.submodule_search_locations[0]) / "weights"


class Fracast:
    """A loaded model; gaps are masked, as in its training."""

    min_context = min_room = 8
    capabilities = Capabilities(native_quantiles=True, missing_values=True)

    def __init__(self, net: FracastNet, device: str) -> None:
        self._net = net
        self._device = device
        self.max_context = net.sizes.window
        self.batch_points = 32 * self.max_context
        self.path = f"float32 with {torch.backends.cpu.get_cpu_capability()}" if device == "cpu" else "float32"

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        return self.max_context

    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        window = np.full((len(batch), self.max_context), np.nan, np.float32)
        for row, series in zip(window, batch, strict=True):
            row[self.max_context - len(series) :] = series.target
        answers = self._steps(window, horizon).swapaxes(1, 2)
        return quantiles.forecasts(self._net.sizes.quantiles, answers, levels)

    def _steps(self, window: FloatArray, horizon: int) -> FloatArray:
        """Forecast block after block: shape (B, W) to (B, horizon, Q)."""
        middle = self._net.sizes.quantiles.index(0.5)
        blocks = [self._block(window)]
        while sum(block.shape[1] for block in blocks) < horizon:
            median = blocks[-1][:, :, middle]
            window = np.concatenate((window, median), axis=1)[:, -self.max_context :]
            blocks.append(self._block(window))
        return np.concatenate(blocks, axis=1)[:, :horizon]

    def _block(self, window: FloatArray) -> FloatArray:
        """Forecast one native horizon, normalised as in ``FracastModel._predict_rows``."""
        observed = np.isfinite(window)
        low = np.nanmin(window, axis=1, keepdims=True).astype(np.float64)
        span = np.maximum(np.nanmax(window, axis=1, keepdims=True) - low, 1e-5)
        values = np.where(observed, (window - low) / span, 0).astype(np.float32)
        answer = self._net(moved(values, self._device), moved(observed, self._device))
        block: FloatArray = (answer.cpu().numpy() * span[:, None] + low[:, None]).astype(np.float32)
        return block
