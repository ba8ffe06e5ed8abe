"""Time-MoE: a decoder over single points with a mixture of experts, from the official weights.

Our own network reads the official tensor names; no code that comes with a checkpoint is run. In
float32 it equals the official ``TimeMoeForPrediction``, called in a loop as its ``generate`` does:
each step uses the largest horizon head that still fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tsfm.errors import ConfigError
from tsfm.nets import int8
from tsfm.nets.decoder import alike, last, spans
from tsfm.nets.devices import portion
from tsfm.nets.parallel import each
from tsfm.nets.timemoe import Network, Shape
from tsfm.numerics import conformal
from tsfm.series import Capabilities, FloatArray, Forecast, Runtime, Series
from tsfm.weights import reader
from tsfm.weights.configuration import TRANSFORMERS, Config

CARD = {
    "summary": "Decoder with a mixture of experts, one token per point, pretrained on 300 billion points",
    "licence": "Apache-2.0",
    "commercial": "yes",
    "year": 2024,
    "paper": "https://arxiv.org/abs/2409.16040",
    "keys": ["timemoe-fc"],
    "task": "forecast",
    "paths": ["/ds_predict", "/timemoe"],
    "port": 6037,
    "memory_mib": 800,
    "int8": True,
    # The commits are those in the tests of sktime/sktime (sktime/forecasting/tests/test_timemoe.py).
    "checkpoints": [
        {
            "name": "Maple728/TimeMoE-50M",
            "revision": "446753ee48ff3726d0606a81d0092d54acee995e",
            "parameters": 113_352_192,
            "bytes": 226_760_971,
            "marks": {"model_type": "time_moe"},
            "shape": {"hidden_size": 384},
            "files": ["config.json", "model.safetensors"],
            "capabilities": [],
        },
        {
            "name": "Maple728/TimeMoE-200M",
            "revision": "794591bfeb1225fdf742cec0f4c71f20c3f3b87e",
            "parameters": 453_196_800,
            "bytes": 906_450_811,
            "marks": {"model_type": "time_moe"},
            "shape": {"hidden_size": 768},
            "files": ["config.json", "model.safetensors"],
            "capabilities": [],
        },
    ],
    "requirements": ["safetensors==0.8.0"],
}

# The official code allows other values, but no published checkpoint has them.
ONLY = {"hidden_act": "silu", "input_size": 1, "use_dense": False, "apply_aux_loss": True, "tie_word_embeddings": False}
PACK = 1024  # tokens of several series in one pass; more tokens are no faster and need more memory


def load(folder: Path | None, runtime: Runtime) -> TimeMoe:
    """Load ``config.json`` and ``model.safetensors`` from the folder.

    Raises:
        ConfigError: not a Time-MoE checkpoint; the message says what was expected and found.
    """
    if folder is None:
        raise ConfigError("family timemoe: expected a folder with its checkpoint, got none")
    shape = _shape(Config.read(folder))
    dtype, path = int8.arithmetic(runtime)
    state = reader.read_weights(folder)
    network = Network(shape, state, dtype, runtime.device)
    state.finish()
    return TimeMoe(network, path)


class TimeMoe:
    """A loaded Time-MoE. Context and horizon share the positions that the model was trained on."""

    min_context = min_room = 1
    batch_points = 4096
    capabilities = Capabilities()

    def __init__(self, network: Network, path: str) -> None:
        self._network = network
        self._positions = network.shape.max_position_embeddings
        self.max_context = self.context_for(1, (0, 0))
        self.path = path

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        return self._positions - horizon

    @torch.inference_mode()
    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        """Forecast with the official schedule of heads; the levels are conformal quantiles of past errors.

        The context is normalised by its mean and unbiased standard deviation, as on the model card.
        """
        contexts = [torch.tensor(series.target, dtype=torch.float32) for series in batch]
        scales = [(float(context.mean()), _deviation(context)) for context in contexts]
        # The newest part of a cut series may be constant: it is normalised to 0, and its forecast is scaled by 0.
        normal = [(x - mean) / (spread or 1.0) for x, (mean, spread) in zip(contexts, scales, strict=True)]
        points, pasts = self._generate(normal, horizon, conformal.needed(levels))
        answers = []
        for series, context, point, past, (mean, spread) in zip(batch, normal, points, pasts, scales, strict=True):
            origins = np.arange(len(context) - len(past), len(context))
            rows = conformal.intervals(context.numpy(), origins, past, point, levels, series.filled)
            answers.append(Forecast(point.astype(np.float64) * spread + mean, rows * spread + mean))
        return answers

    def _generate(
        self, contexts: Sequence[Tensor], horizon: int, with_past: bool
    ) -> tuple[FloatArray, list[FloatArray]]:
        """Forecasts, shape (series, horizon), and for each series the forecasts made at its past points."""
        network = self._network
        steps, most = schedule(network.shape.horizon_lengths, horizon), portion(PACK, network.device)
        groups = alike([len(context) for context in contexts], network.device, most)
        lengths = [len(contexts[group[0]]) for group in groups]
        caches = [network.cache(len(group), n + horizon) for group, n in zip(groups, lengths, strict=True)]

        def read(pack: slice) -> tuple[Tensor, list[Tensor]]:
            packed = spans(lengths[pack], caches[pack])
            values = torch.cat([contexts[index] for group in groups[pack] for index in group])
            hidden = network.hidden(values, packed, everywhere=with_past)
            if not with_past:
                return hidden, [hidden.new_empty(span.cache.series, 0, 1) for span in packed]
            return hidden[last(packed)], [self._past(span.by_series(hidden), steps[0], horizon) for span in packed]

        packs = _packs([n * len(group) for group, n in zip(groups, lengths, strict=True)], most)
        ends, pasts = zip(*each(read, packs), strict=True)
        made = [network.head(torch.cat(ends), steps[0])]
        for step in steps[1:]:
            packed = spans([made[-1].shape[1]] * len(caches), caches)
            made.append(network.head(network.hidden(made[-1].flatten(), packed), step))
        points: FloatArray = torch.cat(made, 1)[:, :horizon].cpu().numpy()
        every = [past for pack in pasts for past in pack]
        together = torch.cat([past.flatten(0, 1) for past in every]).cpu().numpy()  # at once: each copy waits
        counts = [past.shape[1] for past in every for _ in range(len(past))]
        back = np.argsort([index for group in groups for index in group])
        of_each = np.split(together, np.cumsum(counts)[:-1])
        return points[back], [of_each[place] for place in back]

    def _past(self, hidden: Tensor, first: int, horizon: int) -> Tensor:
        """Forecasts made at past points, shape (series, points, leads), without the first few points.

        Leads of the first step come from its own head, later leads from the smallest head that reaches
        them directly: feeding forecasts back would cost a pass for each point.

        Args:
            hidden: shape (series, points, hidden).
        """
        heads = self._network.shape.horizon_lengths
        hidden = hidden[:, conformal.warm_up(hidden.shape[1]) :]
        reach = min(horizon, max(heads))
        columns = self._network.head(hidden, first)[..., :reach]
        if reach > first:
            further = min(head for head in heads if head >= reach)
            columns = torch.cat([columns, self._network.head(hidden, further)[..., first:reach]], -1)
        return columns


def _packs(lengths: Sequence[int], most: int) -> list[slice]:
    """Slices of consecutive groups of series for one pass each, about ``most`` tokens in a slice."""
    packs: list[slice] = []
    start = tokens = 0
    for index, length in enumerate(lengths):
        if index > start and tokens + length > most:
            packs.append(slice(start, index))
            start, tokens = index, 0
        tokens += length
    return [*packs, slice(start, len(lengths))]


def schedule(heads: Sequence[int], horizon: int) -> list[int]:
    """The heads of a forecast, step by step: the largest that fits, or the first if none fits."""
    steps: list[int] = []
    while (left := horizon - sum(steps)) > 0:
        steps.append(max((head for head in heads if head <= left), default=heads[0]))
    return steps


def _deviation(context: Tensor) -> float:
    return float(context.std()) if len(context) > 1 else 0.0


def _shape(config: Config) -> Shape:
    """The sizes, with the defaults of the official ``TimeMoeConfig``."""
    if config.get("model_type") != "time_moe":
        raise config.refused("model_type", "'time_moe'")
    config.only(TRANSFORMERS | ONLY)
    heads = config.whole("num_attention_heads", 32)
    if config.whole("num_key_value_heads", heads) != heads:
        raise config.refused("num_key_value_heads", f"{heads}, as many as there are heads,")
    shape = Shape(
        hidden_size=config.whole("hidden_size", 4096),
        intermediate_size=config.whole("intermediate_size", 22016),
        num_hidden_layers=config.whole("num_hidden_layers", 32),
        num_attention_heads=heads,
        num_experts=config.whole("num_experts", 1),
        num_experts_per_tok=config.whole("num_experts_per_tok", 2),
        max_position_embeddings=config.whole("max_position_embeddings", 32768),
        rope_theta=config.rope_theta(),
        rms_norm_eps=config.number("rms_norm_eps", 1e-6),
        horizon_lengths=config.ascending("horizon_lengths", 1),
    )
    if shape.hidden_size % (2 * heads):
        raise config.refused("num_attention_heads", f"a number that divides {shape.hidden_size} into even widths")
    if shape.num_experts_per_tok > shape.num_experts:
        raise config.refused("num_experts_per_tok", f"at most the {shape.num_experts} experts")
    return shape
