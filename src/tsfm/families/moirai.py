"""Moirai-MoE and Moirai-2: patch transformers that take covariates; samples or quantiles.

Which of the two a folder holds is read from its config.json. The networks are ours
(``tsfm.nets.moirai``) and read the official tensor names, so nothing of uni2ts is needed to serve.

Moirai-MoE draws 100 paths, as uni2ts does, and from the distribution that each path gives for its
next patch ten values, of which one carries the path on: quantiles come from 1,000 draws, which
steadies the tails. The context's scale stays for all steps, as in training; uni2ts's forecast makes
it again from its own samples at every step. TSFM_MOIRAI_EXACT=1 in the environment does as uni2ts
does, many times slower; docs/decisions/0007-moirai-frozen-scale.md has the difference. The random
numbers follow from the series itself: the same request gets the same answer, whatever else is in its
batch, up to rounding; that is 6e-3 of the spread in bfloat16 (docs/numerics.md).

Context, covariates and horizon share the 512 patches of 16 points that the model was trained on. What
does not fit is cut from the context's old end; a request that would leave less than 128 points is refused.

Gaps of the target hold the mean of what was before them, gaps of a covariate the mean of its past, and both count in
no scale. Moirai-2 is told where they are; Moirai-MoE has no input for that.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tsfm.errors import ConfigError
from tsfm.nets.moirai import Moirai2, MoiraiMoE
from tsfm.nets.moirai_encoder import HEAD, THETA, Sizes
from tsfm.nets.moirai_mixture import narrow_scale
from tsfm.nets.moirai_patches import PATCH, patches
from tsfm.numerics.quantiles import at_levels
from tsfm.series import Capabilities, Family, FloatArray, Forecast, Runtime, Series
from tsfm.weights.configuration import Config
from tsfm.weights.reader import arithmetic, read_weights

CARD = {
    "summary": "Moirai-MoE and Moirai-2: patch transformers with covariates and native intervals",
    "licence": "CC-BY-NC-4.0",
    "paper": "https://arxiv.org/abs/2410.10469, https://arxiv.org/abs/2511.11698",
    "keys": ["moirai"],
    "task": "forecast",
    "paths": ["/ds_predict"],
    "port": 6039,
    "memory_mib": 1000,
    # Commits and hashes as public projects that know nothing of one another state them: a search for one finds them.
    "checkpoints": [
        {
            "name": "Salesforce/moirai-moe-1.0-R-small",
            "parameters": 117025800,
            "bytes": 468768840,
            "marks": {"d_ff": "*", "distr_output": "*"},
            "shape": {"d_model": 384},
            "files": ["config.json", "model.safetensors"],
            "capabilities": ["past_covariates", "future_covariates", "native_quantiles", "missing_values"],
        },
        {
            "name": "Salesforce/moirai-moe-1.0-R-base",
            "parameters": 935066592,
            "bytes": 3742778344,
            "marks": {"d_ff": "*", "distr_output": "*"},
            "shape": {"d_model": 768},
            "files": ["config.json", "model.safetensors"],
            "capabilities": ["past_covariates", "future_covariates", "native_quantiles", "missing_values"],
        },
        {
            "name": "Salesforce/moirai-2.0-R-small",
            "revision": "30f43ff08c8494f4943ae1521e9d4e94a0fbb389",
            "sha256": {
                "config.json": "6b74b03c8ec199fabc352c0203465958142ca468183da68549652734836f853d",
                "model.safetensors": "fb5652a3db8ea572606221b7cb1e77bb8962b168e4d4cc752cf31ceb04074669",
            },
            "parameters": 11387208,
            "bytes": 45557824,
            "marks": {"d_ff": "*", "patch_size": "*"},
            "shape": {"d_model": 384},
            "files": ["config.json", "model.safetensors"],
            "capabilities": [
                "past_covariates",
                "future_covariates",
                "native_quantiles",
                "missing_values",
                "covariate_gaps",
            ],
        },
    ],
}

MAX_CONTEXT = 4096  # 256 patches: with the longest horizon's 64 well inside the 512 of training
LEAST_CONTEXT = 128
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # uni2ts's default for Moirai2Module


def load(folder: Path | None, runtime: Runtime) -> Family:
    """The checkpoint in ``folder`` (config.json, model.safetensors).

    Raises:
        ConfigError: the folder holds something else.
    """
    if folder is None:
        raise ConfigError("moirai: expected a folder with a checkpoint, got none")
    config = Config.read(folder)
    experts = "distr_output" in config
    # Moirai 1.0 and 1.1 have a distribution too, but no width of experts.
    if "d_ff" not in config or not (experts or "patch_size" in config):
        key = next((key for key in ("model_type", "architectures") if config.get(key)), "d_ff")
        raise config.refused(key, "the configuration of Moirai-MoE or Moirai-2")
    sizes = _sizes(config, experts)
    longest = config.whole("max_seq_len")
    dtype, path = arithmetic(runtime)
    state = read_weights(folder)
    family: Sampled | Quantiled
    if experts:
        net = MoiraiMoE(state, sizes, narrow_scale(config), dtype, runtime.device)
        family = Sampled(net, longest, path, exact=os.environ.get("TSFM_MOIRAI_EXACT") == "1")
    else:
        levels, ahead = list(config.levels("quantile_levels", LEVELS)), config.whole("num_predict_token", 1)
        net2 = Moirai2(state, sizes, levels, ahead, dtype, runtime.device)
        family = Quantiled(net2, longest, path)
    state.finish()
    return family


class _Patched:
    """What both have in common: how much they can look at."""

    min_context = 1
    min_room = LEAST_CONTEXT
    batch_points = 8 * MAX_CONTEXT
    capabilities = Capabilities(
        past_covariates=True, future_covariates=True, native_quantiles=True, missing_values=True
    )

    def __init__(self, longest: int, path: str) -> None:
        self._longest = longest
        self.max_context = self.context_for(1, (0, 0))
        self.path = path

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        (past, known), steps = schema, -(-horizon // PATCH)
        return min(MAX_CONTEXT, (self._longest - (1 + known) * steps) // (1 + past + known) * PATCH)


class Sampled(_Patched):
    """Moirai-MoE: quantiles of draws."""

    def __init__(self, net: MoiraiMoE, longest: int, path: str, exact: bool) -> None:
        super().__init__(longest, path)
        self.net, self._exact = net, exact

    @torch.inference_mode()
    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        steps = -(-horizon // PATCH)
        seeds = [_seed(one.target) for one in batch]
        tokens = patches(batch, horizon, self.net.device)
        draws = self.net.sample(tokens, steps, seeds, self._exact)[..., :horizon].cpu().numpy()
        return [_of_draws(rows, levels) for rows in draws]


class Quantiled(_Patched):
    """Moirai-2: its own nine quantiles."""

    capabilities = replace(_Patched.capabilities, covariate_gaps=True)

    def __init__(self, net: Moirai2, longest: int, path: str) -> None:
        super().__init__(longest, path)
        self.net = net

    @torch.inference_mode()
    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        steps = -(-horizon // PATCH)
        tokens = patches(batch, horizon, self.net.device)
        values = self.net.quantiles(tokens, steps)[..., :horizon].cpu().numpy()
        trained = self.net.levels
        return [Forecast(at_levels(trained, v, [0.5])[0], at_levels(trained, v, levels)) for v in values]


def _seed(target: FloatArray) -> int:
    """From the series itself, so coarsely that a change of unit does not change it by its rounding."""
    coarse = np.round(np.nan_to_num(np.asarray(target, np.float64), nan=99.0) * 16).astype(np.int32)
    return zlib.crc32(coarse.tobytes())


def _of_draws(draws: FloatArray, levels: Sequence[float]) -> Forecast:
    rows = np.quantile(draws, [0.5, *levels], axis=0)
    return Forecast(rows[0], rows[1:])


def _sizes(config: Config, experts: bool) -> Sizes:
    """What ``MoiraiMoEModule`` and ``Moirai2Module`` take."""
    width = config.whole("d_model")
    if width % HEAD:
        raise config.refused("d_model", f"a multiple of {HEAD}")
    key, value = ("patch_sizes", [PATCH]) if experts else ("patch_size", PATCH)
    if config.get(key) != value:
        raise config.refused(key, f"{value}")
    config.only({"scaling": True})
    # Not in any official configuration, and fixed in the network: who says otherwise has another one.
    if config.rope_theta() != THETA:
        raise config.refused("rope_theta", f"{THETA}")
    return Sizes(width, config.whole("d_ff"), config.whole("num_layers"), experts)
