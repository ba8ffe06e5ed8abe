"""Moirai-MoE and Moirai-2: patch transformers with covariates; the first predicts samples, the second quantiles.

The config.json of a folder decides which of the two it holds. The networks are our own
(``tsfm.nets.moirai``) and read the official tensor names, so serving does not need uni2ts.

Moirai-MoE samples 100 paths, as uni2ts does. From the distribution of each path's next patch it draws
ten values, and one of them continues the path: quantiles come from 1,000 draws, which makes the tails
more stable. The scale of the context is kept for all steps, as in training; uni2ts's forecast computes
it again from its own samples at every step. TSFM_MOIRAI_EXACT=1 in the environment does the same as uni2ts,
many times slower; docs/decisions/0007-moirai-frozen-scale.md has the difference. The series is the seed of
the random numbers: the same request gets the same answer in any batch, up to rounding, which is 6e-3 of the
spread in bfloat16 (docs/numerics.md).

The variates of a target are forecast together: a token attends to those of all variates. Variates, context,
covariates and horizon share the 512 patches of 16 points that the model was trained on. The oldest points of the
context are cut so that the rest fits; a request that leaves less than 128 points of context is refused.

A gap of the target is filled with the mean of the points before it, a gap of a covariate or of one of several
variates with the mean of its past; neither counts in a scale. Moirai-2 has an input that marks gaps; Moirai-MoE has
none.
"""

from __future__ import annotations

import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tsfm.errors import ConfigError
from tsfm.nets.devices import is_gpu, moved
from tsfm.nets.moirai import Moirai2, MoiraiMoE
from tsfm.nets.moirai_encoder import HEAD, THETA, Sizes
from tsfm.nets.moirai_mixture import narrow_scale
from tsfm.nets.moirai_patches import PATCH, group_patches
from tsfm.numerics import quantiles
from tsfm.series import Capabilities, Family, FloatArray, Forecast, Group, Runtime, Series
from tsfm.weights.configuration import Config
from tsfm.weights.reader import arithmetic, read_weights

CARD = {
    "summary": "Moirai-MoE and Moirai-2: patch transformers with covariates and native intervals",
    "licence": "CC-BY-NC-4.0",
    "commercial": "no",
    "year": 2025,
    "paper": "https://arxiv.org/abs/2410.10469, https://arxiv.org/abs/2511.11698",
    "keys": ["moirai"],
    "task": "forecast",
    "paths": ["/ds_predict"],
    "port": 6039,
    "memory_mib": 1000,
    # Commits and hashes are those that independent public projects state; a search for one finds them.
    "checkpoints": [
        {
            "name": "Salesforce/moirai-moe-1.0-R-small",
            "parameters": 117025800,
            "bytes": 468768840,
            "marks": {"d_ff": "*", "distr_output": "*"},
            "shape": {"d_model": 384},
            "files": ["config.json", "model.safetensors"],
            "capabilities": [
                "past_covariates",
                "future_covariates",
                "multivariate",
                "native_quantiles",
                "missing_values",
            ],
        },
        {
            "name": "Salesforce/moirai-moe-1.0-R-base",
            "parameters": 935066592,
            "bytes": 3742778344,
            "marks": {"d_ff": "*", "distr_output": "*"},
            "shape": {"d_model": 768},
            "files": ["config.json", "model.safetensors"],
            "capabilities": [
                "past_covariates",
                "future_covariates",
                "multivariate",
                "native_quantiles",
                "missing_values",
            ],
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
                "multivariate",
                "native_quantiles",
                "missing_values",
                "covariate_gaps",
            ],
        },
    ],
}

MAX_CONTEXT = 4096  # 256 patches: together with the 64 of the longest horizon well within the 512 of training
LEAST_CONTEXT = 128
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # uni2ts's default for Moirai2Module


def load(folder: Path | None, runtime: Runtime) -> Family:
    """Load the checkpoint in ``folder`` (config.json, model.safetensors).

    Raises:
        ConfigError: the folder holds something else.
    """
    if folder is None:
        raise ConfigError("moirai: expected a folder with a checkpoint, got none")
    config = Config.read(folder)
    experts = "distr_output" in config
    # Moirai 1.0 and 1.1 have a distribution too, but no d_ff.
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


class _Patched(ABC):
    """Base of both: limits of context, horizon and covariates."""

    min_context = 1
    min_room = LEAST_CONTEXT
    batch_points = 8 * MAX_CONTEXT
    capabilities = Capabilities(
        past_covariates=True, future_covariates=True, multivariate=True, native_quantiles=True, missing_values=True
    )

    def __init__(self, longest: int, path: str) -> None:
        self._longest = longest
        self.max_context = self.context_for(1, (0, 0))
        self.path = path

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        (past, known), steps = schema, -(-horizon // PATCH)
        return min(MAX_CONTEXT, (self._longest - (1 + known) * steps) // (1 + past + known) * PATCH)

    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        return [made for (made,) in self.forecast_joint([Group((series,)) for series in batch], horizon, levels)]

    @abstractmethod
    def forecast_joint(self, batch: Sequence[Group], horizon: int, levels: Sequence[float]) -> list[list[Forecast]]:
        """As ``JointFamily`` has it."""


class Sampled(_Patched):
    """A loaded Moirai-MoE: quantiles of samples."""

    def __init__(self, net: MoiraiMoE, longest: int, path: str, exact: bool) -> None:
        super().__init__(longest, path)
        self.net, self._exact = net, exact

    @torch.inference_mode()
    def forecast_joint(self, batch: Sequence[Group], horizon: int, levels: Sequence[float]) -> list[list[Forecast]]:
        steps = -(-horizon // PATCH)
        seeds = [[_seed(one.target) for one in group.members] for group in batch]
        tokens = group_patches(batch, horizon, self.net.device)
        draws = self.net.sample(tokens, steps, seeds, self._exact)[..., :horizon]
        return [[Forecast(rows[0], rows[1:]) for rows in group] for group in _quantiles(draws, [0.5, *levels])]


class Quantiled(_Patched):
    """A loaded Moirai-2: the nine quantiles of its head."""

    capabilities = replace(_Patched.capabilities, covariate_gaps=True)

    def __init__(self, net: Moirai2, longest: int, path: str) -> None:
        super().__init__(longest, path)
        self.net = net

    @torch.inference_mode()
    def forecast_joint(self, batch: Sequence[Group], horizon: int, levels: Sequence[float]) -> list[list[Forecast]]:
        steps = -(-horizon // PATCH)
        tokens = group_patches(batch, horizon, self.net.device)
        values = self.net.quantiles(tokens, steps)[..., :horizon].transpose(1, 2).cpu().numpy()
        return [quantiles.forecasts(self.net.levels, rows, levels) for rows in values]


def _seed(target: FloatArray) -> int:
    """A seed from the series, rounded coarsely so that rounding after a change of unit does not change it."""
    coarse = np.round(np.nan_to_num(np.asarray(target, np.float64), nan=99.0) * 16).astype(np.int32)
    return zlib.crc32(coarse.tobytes())


def _quantiles(draws: Tensor, levels: Sequence[float]) -> FloatArray:
    """Quantiles of draws, (..., draws, horizon), shape (..., levels, horizon), between two draws on a line."""
    if not is_gpu(draws.device):
        return np.moveaxis(np.quantile(draws.numpy(), levels, axis=-2), 0, -2)
    # As torch.quantile, which in older versions takes 16 million numbers at most.
    ordered, at = draws.sort(dim=-2).values, np.array(levels) * (draws.shape[-2] - 1)
    low = moved(np.floor(at).astype(np.int64), draws.device)
    high = (low + 1).clamp(max=draws.shape[-2] - 1)
    part = moved((at % 1).astype(np.float32), draws.device)[:, None]
    made: FloatArray = torch.lerp(ordered[..., low, :], ordered[..., high, :], part).cpu().numpy()
    return made


def _sizes(config: Config, experts: bool) -> Sizes:
    """The sizes that ``MoiraiMoEModule`` and ``Moirai2Module`` take."""
    width = config.whole("d_model")
    if width % HEAD:
        raise config.refused("d_model", f"a multiple of {HEAD}")
    key, value = ("patch_sizes", [PATCH]) if experts else ("patch_size", PATCH)
    if config.get(key) != value:
        raise config.refused(key, f"{value}")
    config.only({"scaling": True})
    # No official configuration has this key, and the network fixes its value: another value means another network.
    if config.rope_theta() != THETA:
        raise config.refused("rope_theta", f"{THETA}")
    return Sizes(width, config.whole("d_ff"), config.whole("num_layers"), experts)
