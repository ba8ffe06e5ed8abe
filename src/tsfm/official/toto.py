"""Toto 2.0 through toto-2 2.0.0 (``Toto2Model.forecast``), with the settings of its GluonTS model.

The package's metadata asks for Python 3.12, and so does that of dd-unit-scaling; both run on 3.11. It pads the front of
a series to whole patches with raw zeros, of which those in the last patch count as observed, so the unit of a short
series matters. It takes series of one length together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tsfm.numerics import quantiles
from tsfm.official._adapter import Quantiled, by_shape, loading_folder
from tsfm.series import Capabilities, FloatArray, Forecast, Group, Runtime, Series

PIN = "toto-2==2.0.0"
ENVIRONMENT = {
    "ahead": ["toto-2==2.0.0", "dd-unit-scaling==0.1.0"],
    "requirements": [
        "unit-scaling==0.3.5",
        "gluonts==0.16.3",
        "lightning==2.6.6",
        "jaxtyping==0.3.7",
        "scipy==1.17.1",
        "einops==0.8.2",
        "huggingface-hub==0.36.2",
    ],
    "overrides": ["torch==2.13.0", "numpy==2.4.6", "scipy==1.17.1", "gluonts==0.16.3", "huggingface-hub==0.36.2"],
    "dropped": ["tabulate"],
}
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MOST_POINTS = 4096  # of context and horizon, as in training


class Sizes(Protocol):
    patch_size: int


class Package(Protocol):
    """What is used of ``Toto2Model``."""

    config: Sizes

    def to(self, device: str) -> Package: ...

    def eval(self) -> Package: ...

    def forecast(self, inputs: dict[str, torch.Tensor], horizon: int, **options: float | bool | None) -> torch.Tensor:
        """Shape (q, b, variates, horizon)."""
        ...


def load(folder: Path | None, runtime: Runtime) -> Toto:
    """The checkpoint in ``folder`` (config.json, model.safetensors).

    Raises:
        ConfigError: the package is not installed, or does not load the folder.
    """
    with loading_folder(PIN, folder, runtime) as checkpoint:
        from toto2 import Toto2GluonTSModelConfig, Toto2Model
        from toto2.model import ffill_imputation

        usual = Toto2GluonTSModelConfig(prediction_length=1, context_length=1, target_dim=1)
        options = {
            "decode_block_size": usual.decode_block_size,
            "has_missing_values": usual.has_missing_values,
            "scaler_fallback_min_obs": usual.scaler_fallback_min_obs,
            "quantile_real_cap_k": usual.quantile_real_cap_k,
        }
        package: Package = Toto2Model.from_pretrained(str(checkpoint))
        return Toto(package.to(runtime.device).eval(), ffill_imputation, options, runtime.device)


class Toto(Quantiled):
    """``Toto2Model``, called once for all series, or for each group, of one length."""

    capabilities = Capabilities(multivariate=True, native_quantiles=True, missing_values=True)

    def __init__(
        self,
        package: Package,
        fill: Callable[[FloatArray], FloatArray],
        options: dict[str, float | bool | None],
        device: str,
    ) -> None:
        super().__init__(PIN, LEVELS, MOST_POINTS)
        self._package, self._fill, self._options, self._device = package, fill, options, device

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        patch = self._package.config.patch_size
        return MOST_POINTS - (-(-horizon // patch) - 1) * patch

    def quantiles(self, batch: Sequence[Series], horizon: int) -> FloatArray:
        return by_shape(batch, lambda alike: self._answer(np.stack([one.target for one in alike])[:, None], horizon)[0])

    def forecast_joint(self, batch: Sequence[Group], horizon: int, levels: Sequence[float]) -> list[list[Forecast]]:
        made = [self._answer(np.stack([one.target for one in group.members])[None], horizon)[:, 0] for group in batch]
        return [quantiles.forecasts(self.levels, rows, levels) for rows in made]

    @torch.inference_mode()
    def _answer(self, values: FloatArray, horizon: int) -> FloatArray:
        """From shape (b, variates, n) to (variates, b, q, horizon)."""
        front = ((0, 0), (0, 0), (-values.shape[2] % self._package.config.patch_size, 0))
        filled = np.stack([self._fill(one) for one in values.astype(np.float32)])
        inputs = {
            "target": self._tensor(np.pad(filled, front)),
            "target_mask": self._tensor(np.pad(~np.isnan(values), front)),
            "series_ids": torch.zeros(values.shape[:2], dtype=torch.long, device=self._device),
        }
        answer = self._package.forecast(inputs, horizon, **self._options)
        made: FloatArray = answer.permute(2, 1, 0, 3).cpu().numpy()
        return made

    def _tensor(self, array: NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)
