"""TimesFM 2.0 and 2.5: decoders over patches of 32 points that predict 128 points with nine quantiles in one pass.

The networks are our own and read the official tensors: ``torch_model.ckpt`` of 2.0, ``model.safetensors`` of 2.5. The
tests compare them number by number with ``timesfm`` 1.3.0 (``PatchedTimeSeriesDecoder.decode``) and with numbers of
``timesfm`` 3.0.2 (``TimesFM_2p5_200M_torch.forecast``). The two packages have the same module name and neither loads
the other's weights. Serving needs neither: 1.3.0 brings pandas, utilsforecast and the hub's client, encodes a series 32
times by default and holds the weights twice.

What the numbers of 2.0 mean:

* The median is the model's 0.5 quantile, as in the official ``forecast``, whose ``point_forecast_mode`` is
  "median"; beyond 128 steps the model feeds back its own mean, as the package does.
* A series is scaled by its first patch of at least three points, not by all of its points. Mean and deviation are
  float64 here, so a constant patch has deviation 0 and not the rounding noise of float32.
* ``frequency``, a keyword of ``forecast``, is the official ``freq``: 0 for high frequency (up to daily), 1 for
  weekly and monthly, 2 for quarterly and yearly. Requests do not set it, so it is 0.

What the numbers of 2.5 mean:

* They are those of the settings that its model card recommends: the continuous quantile head, flip invariance and no
  crossing quantiles. Normalising the inputs beforehand changes nothing, since each patch is normalised again.
* The quantile head reaches 1,024 steps. For a longer horizon the package must be told to do without it, and so do we.
* The package raises forecasts of a series without negative values to at least 0. A model is given centred series here,
  so this is not done, as for every other model.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from tsfm.errors import ConfigError, OtherModel
from tsfm.nets import int8, timesfm25
from tsfm.nets.timesfm import EPSILON, PATCH, STEP, Decoder, Reader, patch
from tsfm.numerics.quantiles import at_levels, forecasts
from tsfm.series import Capabilities, Family, FloatArray, Forecast, Runtime, Series
from tsfm.weights import configuration, shards
from tsfm.weights.reader import read_torch, read_weights

CARD = {
    "summary": "TimesFM 2.0 and 2.5: patch decoders with native quantiles, contexts up to 2,048 and 16,256 points",
    "licence": "Apache-2.0",
    "commercial": "yes",
    "year": 2025,
    "paper": "https://arxiv.org/abs/2310.10688",
    "keys": ["timesfm"],
    "task": "forecast",
    "paths": ["/ds_predict"],
    "port": 6077,
    "memory_mib": 1400,
    "int8": True,
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
        {
            # Our names and shapes of tensors make a file of exactly the published size; what its weights answer could
            # not be compared here.
            "name": "google/timesfm-2.5-200m-pytorch",
            "revision": "1d952420fba87f3c6dee4f240de0f1a0fbc790e3",
            "sha256": {
                "config.json": "cd3315b760d5cc7e278d7afdf41b897031ced888fc6c115bd9b3ac0ea2c47408",
                "model.safetensors": "2f776efe6245e42b24bc4153ffdf61810140210e4bd3b01fb21f7aa779ab6ce8",
            },
            "parameters": 231289280,
            "bytes": 925181579,
            "marks": {"model_type": "timesfm", "quantile_horizon_length": 1024},
            "shape": {"hidden_size": 1280, "num_hidden_layers": 20},
            "files": ["config.json", "model.safetensors"],
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
# What the package's ``TimesFM_2p5_200M_Definition`` fixes for 2.5, under the keys of the published config.json.
ONLY_25: dict[str, object] = {
    "model_type": "timesfm",
    "patch_length": timesfm25.PATCH,
    "horizon_length": timesfm25.STEP,
    "quantile_horizon_length": timesfm25.SPREAD,
    "quantiles": QUANTILES,
    "rms_norm_eps": timesfm25.EPSILON,
}
MEAN, MEDIAN = 0, 5  # among the decoder's outputs: the mean, then the quantiles


def load(folder: Path | None, runtime: Runtime) -> Family:
    """Load the checkpoint in ``folder``; all sizes are read from its tensors.

    Weights as safetensors are those of TimesFM 2.5; else it is torch_model.ckpt of TimesFM 2.0.

    Raises:
        ConfigError: the folder holds something else.
    """
    if folder is None:
        raise ConfigError("timesfm: expected a folder with a checkpoint, got none")
    dtype, path = int8.arithmetic(runtime)
    if any(os.path.lexists(folder / name) for name in (shards.SINGLE, shards.INDEX)):
        config = _described(folder, ONLY_25)
        net = timesfm25.Network(read_weights(folder), dtype, runtime.device)
        _check(config, net.sizes.layers, net.sizes.width, net.sizes.hidden, net.sizes.head)
        return TimesFm25(net, path)
    config, state = _described(folder, ONLY), read_torch(folder / "torch_model.ckpt")
    decoder = Decoder(Reader(state, torch.device(runtime.device), dtype))
    _check(config, decoder.sizes.layers, decoder.sizes.width, decoder.sizes.width, decoder.sizes.head)
    return TimesFm(decoder, path)


def _described(folder: Path, only: dict[str, object]) -> configuration.Config:
    """The folder's config.json; it may lack, since the packages read none."""
    path = folder / configuration.NAME
    config = configuration.Config.read(folder) if os.path.lexists(path) else configuration.Config({}, str(path))
    with _read_by_nobody_else():
        config.only(only | configuration.TRANSFORMERS)
    return config


def _check(config: configuration.Config, layers: int, width: int, hidden: int, head: int) -> None:
    """Compare the configuration with the sizes of the tensors."""
    found = {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "intermediate_size": hidden,
        "head_dim": head,
        "num_attention_heads": width // head,
    }
    with _read_by_nobody_else():
        for key, value in found.items():
            if key in config and config.get(key) != value:
                raise config.refused(key, f"{value} as the tensors have it")


@contextlib.contextmanager
def _read_by_nobody_else() -> Iterator[None]:
    """Refuse in a way that offers no other engine: the packages read no configuration and compute something else."""
    try:
        yield
    except OtherModel as error:
        raise ConfigError(str(error)) from None


class TimesFm:
    """A loaded TimesFM 2.0: the forecasting loop around the decoder."""

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


class TimesFm25:
    """A loaded TimesFM 2.5."""

    max_context = timesfm25.POINTS - timesfm25.STEP
    min_context = min_room = 1
    batch_points = 16 * 512
    capabilities = Capabilities(native_quantiles=True)

    def __init__(self, net: timesfm25.Network, path: str) -> None:
        self._net = net
        self.path = path

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        steps = -(-horizon // timesfm25.STEP) * timesfm25.STEP
        return timesfm25.POINTS - steps if horizon <= LONGEST else 0

    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        made = self._net.forecast([series.target for series in batch], horizon)
        return forecasts(QUANTILES, made.swapaxes(1, 2), levels)
