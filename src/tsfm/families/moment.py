"""MOMENT-1 fills the gaps of a series by reconstruction; it does not forecast.

The network is our own and reads the official tensors; the tests compare it number by number with ``MOMENTPipeline``
of momentfm 0.1.4. Serving needs neither momentfm nor transformers, which would bring 149 MB and seconds of imports
for the 100 lines of a T5 encoder.

What the numbers mean:

* The model sees windows of 512 points in patches of 8. **A patch with any missing point is masked as a whole**, as
  upstream does; known points are never changed.
* Each window is normalised by its known points. ``numerics.windows`` goes over a long series and fills gaps
  longer than half a window from their ends.
* A series shorter than a window is padded in front. Attention masks the padding, and a first patch that is partly
  padding.
* In a window where every patch has a missing point (for example every second point is missing), the model would see
  nothing: its gaps are interpolated linearly between known points, and the ends repeat the nearest known point.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tsfm.errors import ConfigError
from tsfm.nets import int8
from tsfm.nets.devices import portion
from tsfm.nets.moment import Encoder, Sizes
from tsfm.nets.t5 import T5Sizes
from tsfm.numerics import windows
from tsfm.series import Capabilities, FloatArray, Runtime, Series
from tsfm.weights.configuration import Config
from tsfm.weights.reader import read_weights

CARD = {
    "summary": "MOMENT-1: fills gaps by reconstructing masked patches",
    "licence": "MIT",
    "commercial": "yes",
    "year": 2024,
    "paper": "https://arxiv.org/abs/2402.03885",
    "keys": ["moment"],
    "task": "imputation",
    "paths": ["/imputation"],
    "port": 6078,
    "memory_mib": 350,
    "int8": True,
    # Commits and hashes are those that independent public projects state; a search for one finds them.
    "checkpoints": [
        {
            "name": "AutonLab/MOMENT-1-small",
            "revision": "411e288267f82cce86296dbe4d6c8bc533cc162f",
            "sha256": {
                "model.safetensors": "785e6c6f57ffa7cac7e2a1fff6369618d49f2f441563ddea76c866231e5aa877",
            },
            "parameters": 35341512,
            "bytes": 151616320,
            "marks": {"t5_config": "*", "patch_len": "*"},
            "shape": {"t5_config.d_model": 512},
            "files": ["config.json", "model.safetensors"],
            "capabilities": ["imputation", "missing_values"],
        },
        {
            "name": "AutonLab/MOMENT-1-base",
            "revision": "5e44b0ea26376a176360f87831124e018f876d96",
            "sha256": {
                "config.json": "f1c66c2bb845229c0ed27a1600dbcc956b85ab21f9e5fd8a1663e6641bed7755",
                "model.safetensors": "1a436826ffe618273ec62b9656dc4cab8edc470364f104e90542a4ebc14fb825",
            },
            "parameters": 109641608,
            "bytes": 453941114,
            "marks": {"t5_config": "*", "patch_len": "*"},
            "shape": {"t5_config.d_model": 768},
            "files": ["config.json", "model.safetensors"],
            "capabilities": ["imputation", "missing_values"],
        },
        {
            "name": "AutonLab/MOMENT-1-large",
            "revision": "ca58581bc7bea2ebed4e80dc0a3e4b8b609c6ecc",
            "parameters": 341248520,
            "bytes": 1385502220,
            "marks": {"t5_config": "*", "patch_len": "*"},
            "shape": {"t5_config.d_model": 1024},
            "files": ["config.json", "model.safetensors"],
            "capabilities": ["imputation", "missing_values"],
        },
    ],
}


# With other values the official pipeline computes something else.
ONLY: dict[str, object] = {
    "task_name": "reconstruction",
    "transformer_type": "encoder_only",
    "revin_affine": False,
    "add_positional_embedding": True,
    "model_kwargs": {},
}


def load(folder: Path | None, runtime: Runtime) -> Moment:
    """Load the checkpoint in ``folder`` (config.json, model.safetensors).

    Raises:
        ConfigError: the folder holds something else.
    """
    if folder is None:
        raise ConfigError("moment: expected a folder with a checkpoint, got none")
    dtype, path = int8.arithmetic(runtime)
    sizes = _sizes(Config.read(folder), torch.device(runtime.device), dtype)
    encoder = Encoder(read_weights(folder), sizes)
    return Moment(encoder, sizes, f"{path}, attention in float32" if dtype == torch.bfloat16 else path)


class Moment:
    """Windows over the gaps of a series, and the encoder that reconstructs them."""

    max_context = windows.MOST_POINTS
    min_context = 1
    capabilities = Capabilities(imputation=True, missing_values=True)

    def __init__(self, encoder: Encoder, sizes: Sizes, path: str) -> None:
        self._encoder = encoder
        self._window, self._patch = sizes.window, sizes.patch
        self._together = portion(windows.TOGETHER, sizes.device)
        self.batch_points = 64 * sizes.window
        self.path = path

    @torch.inference_mode()
    def impute(self, batch: Sequence[Series]) -> list[FloatArray]:
        """The series with its gaps filled, window by window."""
        targets = [series.target for series in batch]
        return windows.fill(targets, self._encoder.reconstruct, self._window, self._patch, self._together)


def _sizes(config: Config, device: torch.device, dtype: torch.dtype) -> Sizes:
    """The checkpoint's sizes; options that our network does not have are refused."""
    if "t5_config" not in config or "patch_len" not in config:
        key = next((key for key in ("model_type", "model_name") if config.get(key)), "t5_config")
        raise config.refused(key, "the configuration of a MOMENT checkpoint")
    t5 = config.section("t5_config")
    common: dict[str, Any] = T5Sizes.common(t5)
    if not common["gated"]:
        raise t5.refused("is_gated_act" if "is_gated_act" in t5 else "feed_forward_proj", "a gated feed-forward")
    window, patch = config.whole("seq_len"), config.whole("patch_len")
    config.only(ONLY | {"patch_stride_len": patch})
    if config.whole("d_model", common["width"]) != common["width"]:
        raise config.refused("d_model", f"null or t5_config's {common['width']}")
    if window % (4 * patch):
        raise config.refused("seq_len", f"a multiple of {4 * patch}")
    return Sizes(
        **common,
        window=window,
        patch=patch,
        biased=config.flag("value_embedding_bias", False),
        buckets=t5.whole("relative_attention_num_buckets", 32),
        reach=t5.whole("relative_attention_max_distance", 128),
        device=device,
        dtype=dtype,
    )
