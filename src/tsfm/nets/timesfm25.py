"""The network of TimesFM 2.5 over packed series: a causal decoder with rotary positions and two heads.

The numbers equal those of the official ``TimesFM_2p5_200M_torch.forecast`` of timesfm 3.0.2 with its continuous
quantile head, flip invariance and crossing fix. The package runs the series and its negative one after the other and
both heads at every patch; here all rows are packed, and the heads run at the last patch and for the steps asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.nets import int8
from tsfm.nets.decoder import Angles, Cache, Rotary, Span, alike, attend, last, positions, spans, turned
from tsfm.nets.devices import moved
from tsfm.nets.feed import feed
from tsfm.nets.product import product
from tsfm.series import FloatArray
from tsfm.weights.reader import State

PATCH = 32
STEP = 128  # points that one pass of the point head forecasts
SPREAD = 1024  # points that the quantile head forecasts, in one pass
OUTPUTS = 10  # of both heads for each point: the mean, then nine quantiles
MEDIAN = 4  # among the quantiles
TOGETHER = 16384  # patches of equally long rows that are attended to together on a GPU
POINTS = 16384  # of context and horizon together, each rounded up to whole patches and steps
EPSILON = 1e-6  # of the norms, and the smallest deviation that a patch is divided by


@dataclass(frozen=True)
class Sizes:
    """Sizes of the network, read from the checkpoint's tensors."""

    width: int
    hidden: int
    layers: int
    head: int

    @classmethod
    def read(cls, state: State) -> Sizes:
        """Raises ConfigError if the first layer is not that of TimesFM 2.5."""
        hidden, width = state.shape("stacked_xf.0.ff0.weight", 2)
        (head,) = state.shape("stacked_xf.0.attn.query_ln.scale", 1)
        layers = 1
        while f"stacked_xf.{layers}.ff0.weight" in state:
            layers += 1
        return cls(width, hidden, layers, head)

    @property
    def heads(self) -> int:
        return self.width // self.head


@dataclass(frozen=True)
class Patched:
    """The patches of one row, aligned at its end, each normalised by all points up to its own end.

    Attributes:
        tokens: shape (patches, 2 * PATCH): values, then 1 at the places before the row begins, where the value is 0.
        mean, deviation: of the whole row.
    """

    tokens: FloatArray
    mean: float
    deviation: float


def patched(row: FloatArray) -> Patched:
    """Patches of a row of at least one point, shape (n,) float64."""
    missing = -len(row) % PATCH
    ends = np.arange(PATCH - missing, len(row) + 1, PATCH)
    moved = row - row[0]  # a row that does not move has deviation 0 exactly
    mean = moved.cumsum()[ends - 1] / ends
    deviation = np.sqrt(np.maximum((moved * moved).cumsum()[ends - 1] / ends - mean * mean, 0))
    values = np.pad(moved, (missing, 0)).reshape(-1, PATCH)
    values = (values - mean[:, None]) / np.where(deviation < EPSILON, 1, deviation)[:, None]
    values[0, :missing] = 0
    absent = np.zeros_like(values)
    absent[0, :missing] = 1
    tokens = np.concatenate([values, absent], axis=1).astype(np.float32)
    return Patched(tokens, float(mean[-1] + row[0]), float(deviation[-1]))


class Network:
    """All layers. Products of the layers are in ``dtype``; the first block, the heads and the stream are float32."""

    def __init__(self, state: State, dtype: torch.dtype, device: str) -> None:
        self.sizes = sizes = Sizes.read(state)
        self.dtype, self.device = int8.between(dtype), device
        self._into = _Block(state, "tokenizer", 2 * PATCH, sizes.width, sizes, device, bias=True)
        self._layers = [_Layer(state, f"stacked_xf.{i}", sizes, dtype, device) for i in range(sizes.layers)]
        self._point = _Block(state, "output_projection_point", sizes.width, STEP * OUTPUTS, sizes, device)
        self._quantiles = _Block(state, "output_projection_quantiles", sizes.width, SPREAD * OUTPUTS, sizes, device)
        self._rotary = Rotary(sizes.head, POINTS // PATCH, 10_000.0, self.dtype, device)
        state.finish()

    @torch.inference_mode()
    def forecast(self, batch: Sequence[FloatArray], horizon: int) -> FloatArray:
        """Nine quantiles of each step, ascending, shape (b, horizon, 9).

        Up to SPREAD steps the quantiles stand around the median as the quantile head says; beyond, they are those of
        the point head, which the package has there as well. Each answer is the mean of the forecast of the series and
        the negative forecast of the negative series.
        """
        rows = [np.asarray(series, np.float64) for series in batch]
        plain, flipped = np.split(self._decode([*rows, *(-row for row in rows)], horizon), 2)
        made = (plain - flipped[..., ::-1]) / 2
        # As the package removes crossings: away from the median, which stays.
        made[..., MEDIAN::-1] = np.minimum.accumulate(made[..., MEDIAN::-1], axis=-1)
        made[..., MEDIAN:] = np.maximum.accumulate(made[..., MEDIAN:], axis=-1)
        return made

    def _decode(self, rows: list[FloatArray], horizon: int) -> FloatArray:
        """Quantiles of each row, shape (rows, horizon, 9); the median of a pass is fed back for the next one."""
        groups = alike([-(-len(row) // PATCH) for row in rows], self.device, TOGETHER)
        order = [index for group in groups for index in group]
        made = self._of_groups([[rows[index] for index in group] for group in groups], horizon)
        answer = np.empty_like(made)
        answer[order] = made
        return answer

    def _of_groups(self, groups: Sequence[Sequence[FloatArray]], horizon: int) -> FloatArray:
        """As ``_decode``, for rows in groups of equally many patches."""
        passes = -(-horizon // STEP)
        more = (passes - 1) * STEP // PATCH
        caches = [self._cache(len(group), -(-len(group[0]) // PATCH) + more, passes > 1) for group in groups]
        rows = [row for group in groups for row in group]
        of_row = [cache for cache in caches for _ in range(cache.series)]
        made: list[FloatArray] = []
        spread: FloatArray | None = None
        for done in range(passes):
            inputs = [patched(row) for row in rows]
            fresh = [one.tokens[cache.length :] for one, cache in zip(inputs, of_row, strict=True)]
            ends = np.cumsum([cache.series for cache in caches]) - 1
            packed = spans([len(fresh[end]) for end in ends], caches)
            hidden = self._encode(torch.from_numpy(np.concatenate(fresh)), packed, passes > 1)
            mean, deviation = np.array([(one.mean, one.deviation) for one in inputs]).T[:, :, None, None]
            if done == 0 and horizon <= SPREAD:
                spread = _outputs(self._quantiles(hidden, horizon * OUTPUTS)) * deviation
            made.append(_outputs(self._point(hidden, min(STEP, horizon - done * STEP) * OUTPUTS)) * deviation + mean)
            rows = [np.append(row, step[:, MEDIAN]) for row, step in zip(rows, made[-1], strict=True)]
        answer = np.concatenate(made, axis=1)
        if spread is None:
            return answer
        median = slice(MEDIAN, MEDIAN + 1)
        return np.asarray(spread - spread[..., median] + answer[..., median])

    def _cache(self, rows: int, capacity: int, fed_back: bool) -> Cache:
        """For rows of one length; if nothing is fed back, the layers use the same room one after the other."""
        like, sizes = torch.empty(0, dtype=self.dtype, device=self.device), self.sizes
        return Cache(sizes.layers if fed_back else 1, rows, sizes.heads, capacity, sizes.head, like)

    def _encode(self, tokens: Tensor, packed: Sequence[Span], fed_back: bool) -> Tensor:
        """Run new patches, shape (patches, 2 * PATCH), through all layers; return each row's last, (rows, width)."""
        stream = self._into(moved(tokens, self.device))
        angles = self._rotary.at(moved(positions(packed), self.device))
        for index, layer in enumerate(self._layers):
            stream = layer(stream, index if fed_back else 0, packed, angles, is_last=layer is self._layers[-1])
        for span in packed:
            span.cache.length += span.new
        return stream


def _outputs(head: Tensor) -> FloatArray:
    """The quantiles among a head's outputs: shape (rows, steps * OUTPUTS) to (rows, steps, 9)."""
    return np.asarray(torch.unflatten(head, -1, (-1, OUTPUTS))[..., 1:].cpu().numpy(), np.float64)


class _Block:
    """Upstream's ``ResidualBlock``: a hidden layer with SiLU plus a linear skip connection, in float32."""

    def __init__(
        self, state: State, name: str, wide: int, out: int, sizes: Sizes, device: str, bias: bool = False
    ) -> None:
        def part(layer: str, into: int, outof: int) -> tuple[Tensor, Tensor | None]:
            at = f"{name}.{layer}"
            weight = state.take(f"{at}.weight", (outof, into)).to(device, torch.float32, copy=True)
            return weight, state.take(f"{at}.bias", (outof,)).to(device, torch.float32) if bias else None

        self._hidden = part("hidden_layer", wide, sizes.hidden)
        self._output = part("output_layer", sizes.hidden, out)
        self._straight = part("residual_layer", wide, out)

    def __call__(self, x: Tensor, first: int | None = None) -> Tensor:
        """All outputs, or the ``first`` ones: the weights of the others are not read."""
        hidden = F.silu(F.linear(x, *self._hidden))
        return _first(hidden, *self._output, first) + _first(x, *self._straight, first)


def _first(x: Tensor, weight: Tensor, bias: Tensor | None, first: int | None) -> Tensor:
    return F.linear(x, weight[:first], None if bias is None else bias[:first])


class _Layer:
    """Upstream's ``Transformer``: attention and a feed-forward, each with a norm before and after it."""

    def __init__(self, state: State, at: str, sizes: Sizes, dtype: torch.dtype, device: str) -> None:
        self._sizes, width = sizes, sizes.width

        def scale(name: str, size: int) -> Tensor:
            return state.take(f"{at}.{name}", (size,)).to(device, torch.float32)

        def weight(name: str, out: int, into: int) -> Tensor:
            return state.take(f"{at}.{name}.weight", (out, into)).to(device)

        self._after, self._after_ff = scale("post_attn_ln.scale", width), scale("post_ff_ln.scale", width)
        before, before_ff = ((scale(f"pre_{part}_ln.scale", width), EPSILON) for part in ("attn", "ff"))
        # A scale for each dimension of the queries; the factor makes a parameter of 0 that of plain attention.
        query = F.softplus(scale("attn.per_dim_scale.per_dim_scale", sizes.head)) * 1.442695041
        self._query = (scale("attn.query_ln.scale", sizes.head) * query).to(int8.between(dtype))
        self._key = scale("attn.key_ln.scale", sizes.head).to(int8.between(dtype))
        self._qkv = product(weight("attn.qkv_proj", 3 * width, width), None, dtype, before)
        self._out = product(weight("attn.out", width, width), None, dtype)
        up, down = weight("ff0", sizes.hidden, width), weight("ff1", width, sizes.hidden)
        self._feed = feed(up, down, "silu", dtype, norm=before_ff)

    def __call__(self, stream: Tensor, slot: int, packed: Sequence[Span], angles: Angles, is_last: bool) -> Tensor:
        """The stream (patches, width) after this layer; with ``is_last``, only the last patch of each row.

        Args:
            slot: of this layer's keys and values in the caches.
        """
        sizes = self._sizes
        qkv = self._qkv(stream).view(-1, 3, sizes.heads, sizes.head)
        query, key, value = qkv.unbind(1)
        key = _norm(turned(key, angles), self._key)
        if is_last:
            ends = moved(torch.tensor(last(packed)), stream.device)
            stream, query, angles = stream[ends], query[ends], (angles[0][ends], angles[1][ends])
        query = _norm(turned(query, angles), self._query)
        attended = attend(query, key, value, slot, packed)
        stream = stream + _norm(self._out(attended).float(), self._after)
        return stream + _norm(self._feed(stream).float(), self._after_ff)


def _norm(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, weight.shape, weight, EPSILON)
