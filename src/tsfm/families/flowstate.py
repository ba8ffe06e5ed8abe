"""FlowState: state spaces over single points and a decoder of continuous functions, for any sampling rate.

The network is our own (``tsfm.nets.flowstate``) and follows granite-tsfm 0.3.11, ``FlowStateForPrediction``; the tests
compare it with the package number by number. Graf et al., FlowState: Sampling Rate Invariant Time Series Forecasting.

What the numbers mean:

* Time is stretched so that a season has 24 points, as in the package's ``get_fixed_factor``: the scale is 24 divided by
  the points of a season. A request gives them (``season_length``), or its ``freq`` does; else they are found by the
  autocorrelation of the series. Without a season the scale is that of config.json, 1 in the published ones.
* Steps beyond the first season are decoded from points that are marked as missing, all in one pass.
* The quantiles are those of the package: sample quantiles of the network's nine outputs.
* Context and missing points have room for 4,096 points at scale 1, for more where a season is longer, at most 16,384.
  Where the package would have less room left for the context, a quarter stays for it, before a gap at its end.

No official weights were at hand: sizes and keys are those that the package and its model card state for r1.1, whose
18.5 M parameters they add up to. The card names the branch, since no public project states its commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from tsfm.errors import ConfigError
from tsfm.nets.flowstate import FlowState, Input, Sizes
from tsfm.numerics import quantiles
from tsfm.numerics.backtest import season_of
from tsfm.series import Capabilities, Forecast, Runtime, Series
from tsfm.weights.configuration import Config
from tsfm.weights.reader import arithmetic, read_weights

CARD = {
    "summary": "FlowState r1.1: state spaces for any sampling rate, native quantiles, long contexts",
    "licence": "Apache-2.0",
    "commercial": "yes",
    "year": 2025,
    "paper": "https://arxiv.org/abs/2508.05287",
    "keys": ["flowstate"],
    "task": "forecast",
    "paths": ["/ds_predict"],
    "port": 6079,
    "memory_mib": 400,
    "checkpoints": [
        {
            "name": "ibm-granite/granite-timeseries-flowstate-r1",
            "branch": "r1.1",
            "parameters": 18_524_928,
            "bytes": 74_112_207,
            "files": ["config.json", "model.safetensors"],
            "capabilities": ["native_quantiles", "missing_values"],
            "marks": {"model_type": "flowstate"},
            "shape": {"encoder_num_layers": 6, "embedding_feature_dim": 512, "mlp_type": "transformer"},
        },
    ],
    "requirements": ["safetensors==0.8.0"],
}

SEASON = 24  # points of a season at scale 1
SHORTEST = 4  # points of a season that counts as one
MOST_POINTS = 16 * 1024  # of context and missing points
LONGEST = 4096  # steps ahead
SHARE = 4  # the context keeps one part in so many of the room, before a gap at its end


def load(folder: Path | None, runtime: Runtime) -> FlowStateFamily:
    """Load the checkpoint in ``folder`` (config.json, model.safetensors).

    Raises:
        ConfigError: the folder holds something else.
    """
    if folder is None:
        raise ConfigError("flowstate: expected a folder with a checkpoint, got none")
    sizes = Sizes.read(Config.read(folder))
    dtype, path = arithmetic(runtime)
    state = read_weights(folder)
    # FlowStateForPrediction saves its tensors below "model.", and FlowStateModel, as published, does not.
    prefix = "model." if "model.embed.embed.weight" in state else ""

    def take(name: str, shape: Sequence[int]) -> Tensor:
        return state.take(prefix + name, shape).to(runtime.device)

    net = FlowState(sizes, take, dtype)
    state.finish()
    return FlowStateFamily(net, path)


class FlowStateFamily:
    """A loaded FlowState; gaps are masked, as in its training."""

    min_context = min_room = 2
    max_context = MOST_POINTS
    batch_points = 16 * 512
    capabilities = Capabilities(native_quantiles=True, missing_values=True)

    def __init__(self, net: FlowState, path: str) -> None:
        self._net = net
        self.path = f"{path} in the products, float32 in the states" if path.startswith("bf") else path

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        return self.max_context if horizon <= LONGEST else 0

    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        made = self._net.forecast([self._input(series, horizon) for series in batch])
        return [
            Forecast(rows[0], rows[1:])
            for rows in (quantiles.at_levels(self._net.sizes.quantiles, one, [0.5, *levels]) for one in made)
        ]

    def _input(self, series: Series, horizon: int) -> Input:
        sizes = self._net.sizes
        season = series.season or season_of(series.target)
        scale = SEASON / season if season >= SHORTEST else sizes.scale
        patch = max(1, int(sizes.patch / scale + 1e-6))
        room = min(MOST_POINTS, int(sizes.context / scale))
        gap = len(series) - series.observed_span()[1]
        context = max(room - max(0, horizon - patch), gap + room // SHARE, self.min_context)
        return Input(series.newest(context).target, scale, horizon, patch)
