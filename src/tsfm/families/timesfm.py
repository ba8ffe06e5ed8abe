"""TimesFM 2.0: a decoder over patches of 32 points that predicts 128 points with nine quantiles in one pass.

The network is our own and reads the tensors of the official ``torch_model.ckpt``; the tests compare it number by
number with ``timesfm`` 1.3.0 (``PatchedTimeSeriesDecoder.decode``). Serving does not need the package, which brings
pandas, utilsforecast and the hub's client, encodes a series 32 times by default and holds the weights twice.
TimesFM 2.5 needs timesfm 3, which cannot load 2.0 and has the same module name: it would be a family of its own.

What the numbers mean:

* The median is the model's 0.5 quantile, as in the official ``forecast``, whose ``point_forecast_mode`` is
  "median"; beyond 128 steps the model feeds back its own mean, as the package does.
* A series is scaled by its first patch of at least three points, not by all of its points. Mean and deviation are
  float64 here, so a constant patch has deviation 0 and not the rounding noise of float32.
* ``frequency``, a keyword of ``forecast``, is the official ``freq``: 0 for high frequency (up to daily), 1 for
  weekly and monthly, 2 for quarterly and yearly. Requests do not set it, so it is 0.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from tsfm.errors import ConfigError, OtherModel
from tsfm.nets.timesfm import EPSILON, PATCH, STEP, Decoder, Reader, Sizes, patch
from tsfm.numerics.quantiles import at_levels
from tsfm.series import Capabilities, FloatArray, Forecast, Runtime, Series
from tsfm.weights import configuration
from tsfm.weights.reader import arithmetic, read_torch

CARD = {
    "summary": "TimesFM 2.0: a patch decoder with native quantiles, contexts up to 2048",
    "licence": "Apache-2.0",
    "commercial": "yes",
    "year": 2024,
    "paper": "https://arxiv.org/abs/2310.10688",
    "keys": ["timesfm"],
    "task": "forecast",
    "paths": ["/ds_predict"],
    "port": 6077,
    "memory_mib": 1400,
    # Commits and hashes are those that independent public projects state; a search for one finds them.
    "checkpoints": [
        {
            "name": "google/timesfm-2.0-500m-pytorch",
            "revision": "dc2443792ce5516872b89b37cf1bc058c3bf0c10",
            "parameters": 498828960,
            "bytes": 1995518881,
            "files": ["torch_model.ckpt"],
            "capabilities": ["native_quantiles"],
        },
    ],
}

QUANTILES = [i / 10 for i in range(1, 10)]
LONGEST = 4096  # steps ahead, a gap at the end of the series included: one pass for each 128
# What the package's ``TimesFMConfig`` and hparams fix for 2.0, under the keys of transformers' ``TimesFmConfig``.
ONLY: dict[str, object] = {
    "model_type": "timesfm",
    "patch_length": PATCH,
    "horizon_length": STEP,
    "quantiles": QUANTILES,
    "freq_size": 3,
    "use_positional_embedding": False,
    "rms_norm_eps": EPSILON,
    "tolerance": EPSILON,
}
MEAN, MEDIAN = 0, 5  # among the decoder's outputs: the mean, then the quantiles


def load(folder: Path | None, runtime: Runtime) -> TimesFm:
    """Load the checkpoint in ``folder`` (torch_model.ckpt); all sizes are read from its tensors.

    Raises:
        ConfigError: the folder holds something else.
    """
    if folder is None:
        raise ConfigError("timesfm: expected a folder with a checkpoint, got none")
    dtype, path = arithmetic(runtime)
    state = read_torch(folder / "torch_model.ckpt")
    decoder = Decoder(Reader(state, torch.device(runtime.device), dtype))
    if os.path.lexists(folder / configuration.NAME):
        try:
            _check(configuration.Config.read(folder), decoder.sizes)
        except OtherModel as error:  # the package reads no configuration and would compute something else
            raise ConfigError(str(error)) from None
    return TimesFm(decoder, path)


def _check(config: configuration.Config, sizes: Sizes) -> None:
    """Check transformers' ``TimesFmConfig``, if the folder has one; the package itself reads no configuration."""
    config.only(ONLY | configuration.TRANSFORMERS)
    found = {
        "num_hidden_layers": sizes.layers,
        "hidden_size": sizes.width,
        "intermediate_size": sizes.width,
        "head_dim": sizes.head,
        "num_attention_heads": sizes.width // sizes.head,
    }
    for key, value in found.items():
        if key in config and config.get(key) != value:
            raise config.refused(key, f"{value} as the tensors have it")


class TimesFm:
    """A loaded TimesFM: the forecasting loop around the decoder."""

    max_context = 2048
    min_context = min_room = 1
    batch_points = 16 * 512
    capabilities = Capabilities(native_quantiles=True)

    def __init__(self, decoder: Decoder, path: str) -> None:
        self._decoder = decoder
        self.path = path

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        return self.max_context if horizon <= LONGEST else 0

    @torch.inference_mode()
    def forecast(
        self, batch: Sequence[Series], horizon: int, levels: Sequence[float], *, frequency: int = 0
    ) -> list[Forecast]:
        known = [np.asarray(series.target, np.float32) for series in batch]
        steps: list[FloatArray] = []
        for _ in range(0, horizon, STEP):
            patched = patch([series[-self.max_context :] for series in known])
            steps.append(self._decoder.next_step(patched, frequency))  # (b, STEP, 10)
            known = [np.append(series, step[:, MEAN]) for series, step in zip(known, steps[-1], strict=True)]
        outputs = np.concatenate(steps, axis=1)[:, :horizon]
        return [Forecast(out[:, MEDIAN], at_levels(QUANTILES, out[:, 1:].T, levels)) for out in outputs]
