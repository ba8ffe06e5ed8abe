"""Chronos-Bolt and Chronos-2: patch transformers that predict quantiles; Chronos-2 takes covariates.

The config.json of a folder decides which of the two it holds, never its name. The networks are our
own (``tsfm.nets.bolt``, ``tsfm.nets.chronos2``) and read the official weights by name; the tests compare
them number by number with chronos-forecasting 2.3.2. Serving does not need that package, which takes seconds
to import and brings transformers and pandas, 235 MB, for the same numbers.

Beyond the horizon of one pass both follow their official pipelines: every quantile is fed back as its own
path, and the quantiles of all paths are reduced to quantiles again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tsfm.errors import ConfigError
from tsfm.nets import int8
from tsfm.nets.bolt import Bolt, BoltSizes
from tsfm.nets.chronos2 import UNROLLED, Chronos2, Chronos2Sizes
from tsfm.nets.devices import moved, portion
from tsfm.numerics import quantiles
from tsfm.series import Capabilities, Family, FloatArray, Forecast, Group, Runtime, Series
from tsfm.weights.configuration import Config
from tsfm.weights.reader import State, read_weights

CARD = {
    "summary": "Chronos-Bolt and Chronos-2: patch transformers with native quantiles",
    "licence": "Apache-2.0",
    "commercial": "yes",
    "year": 2025,
    "paper": "https://arxiv.org/abs/2403.07815, https://arxiv.org/abs/2510.15821",
    "keys": ["chronos"],
    "task": "forecast",
    "paths": ["/ds_predict"],
    "port": 6038,
    "memory_mib": 320,
    "int8": True,
    # Commits and hashes are those that independent public projects state; a search for one finds them.
    "checkpoints": [
        {
            "name": "amazon/chronos-bolt-tiny",
            "revision": "a0e552de83495b5c28c14c71c374f3e33280b340",
            "sha256": {
                "config.json": "278f0086733031635fb1c861cb01c1bad6477420c7fcb19381a2993e335785e0",
                "model.safetensors": "75068728d376d2bec670379eeef4bfb4d24c0cfe24d957451f8d19b447030a32",
            },
            "parameters": 8652672,
            "bytes": 34622352,
            "marks": {"chronos_pipeline_class": "ChronosBoltPipeline"},
            "shape": {"d_model": 256},
            "files": ["config.json", "model.safetensors"],
            "capabilities": ["native_quantiles", "missing_values"],
        },
        {
            "name": "amazon/chronos-bolt-mini",
            "revision": "251268337516a88e253628c43e1d26ec577b376b",
            "sha256": {
                "model.safetensors": "1a1a4297f132b808c5c7da24e3cce549d519c01ff5c2661fcad404baba018f24",
            },
            "parameters": 21236096,
            "bytes": 84956096,
            "marks": {"chronos_pipeline_class": "ChronosBoltPipeline"},
            "shape": {"d_model": 384},
            "files": ["config.json", "model.safetensors"],
            "capabilities": ["native_quantiles", "missing_values"],
        },
        {
            "name": "amazon/chronos-bolt-small",
            "revision": "772f3d25d38aec6d914c8949dab4462e2d46f5d8",
            "sha256": {
                "model.safetensors": "06a6a19bbe74bc10a9cd193bd4bf2bf638ae07f7e0d51653ae7ab8ea968a21dd",
            },
            "parameters": 47718016,
            "bytes": 190888824,
            "marks": {"chronos_pipeline_class": "ChronosBoltPipeline"},
            "shape": {"d_model": 512},
            "files": ["config.json", "model.safetensors"],
            "capabilities": ["native_quantiles", "missing_values"],
        },
        {
            "name": "amazon/chronos-bolt-base",
            "revision": "5d9f166d69f47aef3401367a7b842e78fe97b121",
            "sha256": {
                "model.safetensors": "31f875483a3215bc6880a0837ea608a13ce55f88ad90538c3cdd0b29aeb60b36",
            },
            "parameters": 205292928,
            "bytes": 821203576,
            "marks": {"chronos_pipeline_class": "ChronosBoltPipeline"},
            "shape": {"d_model": 768},
            "files": ["config.json", "model.safetensors"],
            "capabilities": ["native_quantiles", "missing_values"],
        },
        {
            "name": "amazon/chronos-2",
            "revision": "29ec3766d36d6f73f0696f85560a422f50e8498c",
            "sha256": {
                "config.json": "ef1143bfdc9c0376d9a056eefca46cb4b1ec3d0ffacd541ff56feb40fb708031",
                "model.safetensors": "ddcda3c7508bf2528087723e98a20707cc04b7f370ae275a9fd88078ddba4f42",
            },
            "parameters": 119477664,
            "bytes": 477930472,
            "marks": {"chronos_pipeline_class": "Chronos2Pipeline"},
            "shape": {"d_model": 768},
            "files": ["config.json", "model.safetensors"],
            "capabilities": [
                "past_covariates",
                "future_covariates",
                "native_quantiles",
                "missing_values",
                "covariate_gaps",
                "multivariate",
                "cross_learning",
            ],
        },
        {
            # Sizes are deduced from the published number of values, bytes and quantiles: they give exactly these.
            "name": "autogluon/chronos-2-small",
            "revision": "ddec01313e50b6bc58ebaa92ede81bc24a3d9f9a",
            "sha256": {
                "config.json": "f2780468adc8b16322aa0b6e28b26476c9401ecf64ab53292b6d2b0d3f423722",
                "model.safetensors": "492290ae82bb89f9769e3479ce90b3179de1f33e600c34daa0352531538b23cd",
            },
            "parameters": 27934624,
            "bytes": 111749048,
            "marks": {"chronos_pipeline_class": "Chronos2Pipeline"},
            "shape": {"d_model": 512},
            "files": ["config.json", "model.safetensors"],
            "capabilities": [
                "past_covariates",
                "future_covariates",
                "native_quantiles",
                "missing_values",
                "covariate_gaps",
                "multivariate",
                "cross_learning",
            ],
        },
    ],
}

BOLT, CHRONOS_2 = "ChronosBoltPipeline", "Chronos2Pipeline"
BATCH_POINTS = 32 * 512
# Hidden states of more points do not fit the CPU's cache: more memory for no gain in speed.
POINTS_AT_ONCE = 65536


def load(folder: Path | None, runtime: Runtime) -> Family:
    """Load the checkpoint in ``folder`` (config.json, model.safetensors).

    Raises:
        ConfigError: the folder holds something else.
    """
    if folder is None:
        raise ConfigError("chronos: expected a folder with a checkpoint, found that none is named")
    config = Config.read(folder)
    sizes = BoltSizes.read(config) if _kind(config) == BOLT else Chronos2Sizes.read(config)
    dtype, path = int8.arithmetic(runtime)
    state = read_weights(folder)
    _drop_copies(state, sizes.width)

    def take(name: str, shape: Sequence[int]) -> Tensor:
        return state.take(name, shape).to(runtime.device)

    family: Family
    if isinstance(sizes, BoltSizes):
        family = ChronosBolt(Bolt(sizes, take, dtype), runtime.device, path)
    else:
        family = ChronosTwo(Chronos2(sizes, take, dtype), runtime.device, path)
    state.finish()
    return family


def _kind(config: Config) -> str:
    expected = "that of a Chronos-Bolt or Chronos-2"
    if "chronos_config" not in config:
        key = next((key for key in ("architectures", "model_type") if config.get(key)), "chronos_config")
        raise config.refused(key, expected)
    kind = config.word("chronos_pipeline_class", "ChronosPipeline")
    if kind == "ChronosPipeline":
        raise config.refused("chronos_pipeline_class", f"{expected}; the original Chronos answers samples, not served,")
    if kind not in (BOLT, CHRONOS_2):
        raise config.refused("chronos_pipeline_class", f"{BOLT} or {CHRONOS_2}")
    return kind


def _drop_copies(state: State, width: int) -> None:
    """Drop the copies of the shared token embedding that older writers store; upstream ties all three."""
    for stack in ("encoder", "decoder"):
        if (name := f"{stack}.embed_tokens.weight") in state:
            state.take_copy(name, "shared.weight", (2, width))


class ChronosBolt:
    """A loaded Chronos-Bolt."""

    min_context = min_room = 1
    batch_points = BATCH_POINTS
    capabilities = Capabilities(native_quantiles=True, missing_values=True)

    def __init__(self, net: Bolt, device: str, path: str) -> None:
        self._net = net
        self._device = device
        self.max_context = net.sizes.context
        # The decoder runs on a single token: bfloat16 would save little time there and cost half of the accuracy.
        self.path = f"{path} in the encoder, float32 in the decoder" if path.startswith("bf") else path

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        return self.max_context

    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        context = _padded([np.atleast_2d(series.target) for series in batch])
        paths = len(self._net.sizes.quantiles) if horizon > self._net.sizes.horizon else 1
        answers = [
            self._net.forecast(moved(part, self._device), horizon)
            for part in _parts(context, _at_once(paths * context.shape[1], self._device))
        ]
        return _forecasts(self._net.sizes.quantiles, answers, levels)


class ChronosTwo:
    """A loaded Chronos-2; targets form a group with their covariates, and attention stays within a group."""

    min_context = min_room = 1
    batch_points = BATCH_POINTS
    capabilities = Capabilities(
        past_covariates=True,
        future_covariates=True,
        native_quantiles=True,
        missing_values=True,
        covariate_gaps=True,
        multivariate=True,
        cross_learning=True,
    )

    def __init__(self, net: Chronos2, device: str, path: str) -> None:
        self._net = net
        self._device = device
        self.max_context = net.sizes.context
        self.path = f"{path} in the feed-forward layers, float32 elsewhere" if path.startswith("bf") else path

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        return self.max_context

    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        return [made for (made,) in self.forecast_joint([Group((series,)) for series in batch], horizon, levels)]

    def forecast_joint(self, batch: Sequence[Group], horizon: int, levels: Sequence[float]) -> list[list[Forecast]]:
        group, targets = batch[0].rows, _targets(batch[0])
        members = [member for one in batch for member in one.members]
        context = _padded([_known_past(series) for series in members])
        future = torch.full((len(context), horizon), torch.nan)
        stop = 0
        for series in members:
            stop += 1 + sum(series.schema)
            for last, covariate in enumerate(series.future_covariates[::-1], start=1):
                future[stop - last] = torch.from_numpy(covariate[len(series) :].astype(np.float32))
        paths = len(UNROLLED) if horizon > self._net.longest else 1
        rows = group * _at_once(paths * group * (context.shape[1] + horizon), self._device)
        parts = zip(_parts(context, rows), _parts(future, rows), strict=True)
        inputs = ((moved(past, self._device), moved(ahead, self._device)) for past, ahead in parts)
        answers = [torch.unflatten(self._net.forecast(*some, group, horizon), 0, (-1, group)) for some in inputs]
        made = _forecasts(self._net.sizes.quantiles, [answer[:, targets].flatten(0, 1) for answer in answers], levels)
        return [made[at : at + len(targets)] for at in range(0, len(made), len(targets))]


def _targets(group: Group) -> list[int]:
    """The numbers of the rows of a group that are targets."""
    counts = [1 + sum(member.schema) for member in group.members]
    return [sum(counts[:at]) for at in range(len(counts))]


def _known_past(series: Series) -> FloatArray:
    """Target, past covariates and the past of future covariates: shape (group, n)."""
    rows = [series.target, *series.past_covariates, *(row[: len(series)] for row in series.future_covariates)]
    return np.stack(rows)


def _padded(blocks: Sequence[FloatArray]) -> Tensor:
    """Stack the rows of all blocks, aligned at the end, padded with NaN: shape (rows, longest), float32.

    Attention masks the padding on the left, so each series of a batch gets the answer it gets alone.
    """
    longest = max(block.shape[1] for block in blocks)
    context = np.full((sum(map(len, blocks)), longest), np.nan, np.float32)
    start = 0
    for block in blocks:
        context[start : start + len(block), longest - block.shape[1] :] = block
        start += len(block)
    return torch.from_numpy(context)


def _parts(rows: Tensor, size: int) -> list[Tensor]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _at_once(points: int, device: str) -> int:
    """The number of rows of ``points`` points each to compute at a time."""
    return max(1, portion(POINTS_AT_ONCE, device) // points)


def _forecasts(trained: Sequence[float], answers: Sequence[Tensor], levels: Sequence[float]) -> list[Forecast]:
    return quantiles.forecasts(trained, torch.cat(list(answers)).cpu().numpy(), levels)
