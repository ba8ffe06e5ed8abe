"""Moirai-MoE and Moirai-2 around their common encoder: inputs, outputs and the extension of paths.

Written from uni2ts 2.0.0 (``uni2ts.model.moirai_moe``, ``uni2ts.model.moirai2``); reads its tensor names. The
tokens are those of ``tsfm.nets.moirai_patches``.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.nets.devices import moved
from tsfm.nets.moirai_encoder import HEAD, Encoder, Sizes
from tsfm.nets.moirai_mixture import NOISE, Head, Mixture
from tsfm.nets.moirai_patches import PATCH, Patches
from tsfm.weights.reader import State

PATHS = 100  # sample paths, the default of uni2ts
DRAWS = 10  # draws from the distribution of each path; the first draw extends the path
BYTES = 256 * 2**20  # for the memory that grows with the number of paths in progress

Affine = tuple[Tensor, Tensor]
Seeds = Sequence[Sequence[int]]


class MoiraiMoE:
    """Draws sample paths patch by patch: each patch from the mixture that the model predicts for the path so far."""

    def __init__(self, state: State, sizes: Sizes, narrow: float, dtype: torch.dtype, device: str) -> None:
        self.device, d = device, sizes.width
        shapes = (("in_proj", PATCH), ("feat_proj", d), ("res_proj", PATCH))
        self._into = [_affine(state, name, (1, d, n), device) for name, n in shapes]
        self.encoder = Encoder(state, sizes, dtype, device)
        self.head = Head(state, d, narrow, device)

    def sample(self, patches: Patches, steps: int, seeds: Seeds, exact: bool = False) -> Tensor:
        """Draw the targets in the input's unit, (B, targets, PATHS * DRAWS, steps * 16).

        Args:
            seeds: for each group one for each target; the same seeds always give the same draws.
            exact: compute the scale again at every step and include the path's own draws. The forecast of
                uni2ts does this, its training does not. If False, the context's scale is kept.
        """
        paths = int(BYTES / self._path_bytes(patches, steps, exact))
        at_once, rows = max(1, paths // PATHS), max(1, min(PATHS, paths))
        method = self._rescaled if exact else self._frozen
        done = []
        for a in range(0, len(seeds), at_once):
            some, chosen = patches[a : a + at_once], seeds[a : a + at_once]
            spans = [slice(b, min(PATHS, b + rows)) for b in range(0, PATHS, rows)]
            drawn = torch.cat([method(some, steps, chosen, span) for span in spans], 1)
            done.append(drawn.transpose(1, 2).flatten(2, 3))
        return torch.cat(done)

    def given(self, patches: Patches, paths: Tensor) -> tuple[Mixture, Tensor, Tensor]:
        """The mixture after ``paths`` (B, S, targets, points), and the loc and scale, which include the paths."""
        loc, scale = patches.rescale(paths)
        out = _encode(self.encoder, self._embed(patches.behind(paths, loc, scale)), patches, paths)
        return self.head(out), loc, scale

    def follow(self, patches: Patches, steps: int, paths: int) -> Generator[Mixture, Tensor, None]:
        """Yield the mixture after the context, (B, 1, targets, 16), then the one after each patch that is sent in.

        A patch has the shape (B, paths, targets, 16). All values are in units of the context's scale, which does not
        change.
        """
        ids, ahead = patches.ids(), patches.ahead
        tokens = self._embed(patches.scaled().flatten(1, 2))
        out, caches = self.encoder.context(tokens, ids, patches.newest(), paths, ahead * (steps - 1))
        drawn = yield self.head(out[:, None])
        variates = torch.arange(ahead, device=self.device)
        future = self._embed(patches.scaled_future())
        for step in range(1, steps):
            beside = future[:, None, :, step - 1].expand(-1, paths, -1, -1)
            block = torch.cat([self._embed(drawn), beside], 2)
            times = patches.times[:, -1] + step
            drawn = yield self.head(self.encoder.extend(block, times, variates, ids, caches)[:, :, : patches.targets])

    def _embed(self, scaled: Tensor) -> Tensor:
        """(..., 16) to (..., d)."""
        into, further, beside = self._into
        return F.linear(F.silu(F.linear(scaled, *into)), *further) + F.linear(scaled, *beside)

    def _frozen(self, patches: Patches, steps: int, seeds: Seeds, span: slice) -> Tensor:
        """Draw (B, paths, targets, DRAWS, steps * 16); the context is encoded once."""
        following = self.follow(patches, steps, span.stop - span.start)
        drawn = [self._draw(next(following), seeds, 0, span)]
        for step in range(1, steps):
            mixture = following.send(drawn[-1][..., 0, :])
            drawn.append(self._draw(mixture, seeds, step, span))
        scale, loc = (t[:, None, : patches.targets, None, None] for t in (patches.scale, patches.loc))
        return torch.cat(drawn, -1) * scale + loc

    def _rescaled(self, patches: Patches, steps: int, seeds: Seeds, span: slice) -> Tensor:
        """Draw the same shape as ``_frozen``; every path is encoded as a whole at every step."""
        own = patches.values.new_empty(len(seeds), span.stop - span.start, patches.targets, 0)
        drawn = []
        for step in range(steps):
            mixture, loc, scale = self.given(patches, own)
            new = self._draw(mixture, seeds, step, span) * scale[..., None, None] + loc[..., None, None]
            own = torch.cat([own, new[..., 0, :]], -1)
            drawn.append(new)
        return torch.cat(drawn, -1)

    def _draw(self, mixture: Mixture, seeds: Seeds, step: int, span: slice) -> Tensor:
        """Scaled draws (B, paths, targets, DRAWS, 16); their noise depends only on seed and step."""
        noise = torch.empty(len(seeds), len(seeds[0]), NOISE, PATHS, DRAWS, PATCH)
        for row, group in zip(noise, seeds, strict=True):
            for into, seed in zip(row, group, strict=True):
                _make_noise(seed, step, into)
        return self.head.draw(mixture.each(), moved(noise, self.device).permute(2, 0, 3, 1, 4, 5)[:, :, span])

    def _path_bytes(self, patches: Patches, steps: int, exact: bool) -> float:
        behind, sizes = patches.ahead * steps, self.encoder.sizes
        if exact:
            return _row_bytes(sizes, patches.valid.shape[1] * patches.values.shape[1] + behind)
        return 4 * 2 * sizes.layers * behind * sizes.width


class Moirai2:
    """Predicts nine quantiles of several patches at once; for longer horizons each quantile is extended as a path."""

    def __init__(
        self, state: State, sizes: Sizes, levels: Sequence[float], ahead: int, dtype: torch.dtype, device: str
    ) -> None:
        self.device, self.levels, self._ahead, d = device, tuple(levels), ahead, sizes.width
        self._into = _Residual(state, "in_proj.", (2 * PATCH, d, d), device)
        self._out = _Residual(state, "out_proj.", (d, d, ahead * len(levels) * PATCH), device)
        self.encoder = Encoder(state, sizes, dtype, device)

    def quantiles(self, patches: Patches, steps: int) -> Tensor:
        """Quantiles (B, levels, targets, steps * 16) in the input's unit, by the rule of ``Moirai2Forecast.forward``.

        Every step pools the 9 * 9 quantiles of all paths and takes the quantiles of this pool. The scale is
        computed again at every step and includes each path.
        """
        own = self._next(patches, patches.values.new_empty(len(patches.values), 1, patches.targets, 0))[:, 0]
        own = own.permute(0, 3, 1, 2, 4).flatten(3)
        at = own.new_tensor(self.levels)
        while own.shape[-1] < steps * PATCH:
            crowd = self._next(patches, own).permute(0, 2, 3, 5, 1, 4).flatten(4)
            new = torch.quantile(crowd, at, dim=-1)  # (levels, B, targets, ahead, 16)
            own = torch.cat([own, new.transpose(0, 1).flatten(3)], -1)
        return own[..., : steps * PATCH]

    def _next(self, patches: Patches, paths: Tensor) -> Tensor:
        """The forecast after each of ``paths`` (B, S, targets, points): (B, S, targets, ahead, levels, 16)."""
        tokens = patches.values.shape[1] * patches.valid.shape[1] + patches.ahead * paths.shape[-1] // PATCH
        at_once = max(1, int(BYTES / _row_bytes(self.encoder.sizes, tokens)) // paths.shape[1])
        spans = [slice(a, a + at_once) for a in range(0, len(paths), at_once)]
        return torch.cat([self._follow(patches[span], paths[span]) for span in spans])

    def _follow(self, patches: Patches, paths: Tensor) -> Tensor:
        loc, scale = patches.rescale(paths)
        scaled = patches.behind(paths, loc, scale)
        observed = patches.observed_behind(paths.shape[1], paths.shape[-1] // PATCH)
        out = _encode(self.encoder, self._into(torch.cat([scaled, observed], -1)), patches, paths)
        ahead = self._out(out).view(*paths.shape[:3], self._ahead, len(self.levels), PATCH)
        return ahead * scale[..., None, None, None] + loc[..., None, None, None]


class _Residual:
    """uni2ts's ResidualBlock: one hidden layer plus a linear skip connection."""

    def __init__(self, state: State, prefix: str, widths: tuple[int, int, int], device: str) -> None:
        n, hidden, out = widths
        shapes = (("hidden", (hidden, n)), ("output", (out, hidden)), ("residual", (out, n)))
        self._parts = [_affine(state, f"{prefix}{name}_layer", shape, device) for name, shape in shapes]

    def __call__(self, x: Tensor) -> Tensor:
        hidden, output, residual = self._parts
        return F.linear(F.silu(F.linear(x, *hidden)), *output) + F.linear(x, *residual)


def _affine(state: State, name: str, shape: tuple[int, ...], device: str) -> Affine:
    """Weight and bias, copied to float32. A leading axis of 1 (one patch size) is dropped."""
    weight = state.take(f"{name}.weight", shape).to(device, torch.float32, copy=True)
    bias = state.take(f"{name}.bias", shape[:-1]).to(device, torch.float32, copy=True)
    return (weight[0], bias[0]) if len(shape) == 3 else (weight, bias)


def _encode(encoder: Encoder, tokens: Tensor, patches: Patches, paths: Tensor) -> Tensor:
    """Encode whole rows (B, S, N, d) and return the output of the newest token of each target, (B, S, targets, d)."""
    more = paths.shape[-1] // PATCH
    out, _ = encoder.context(tokens.flatten(0, 1), patches.ids(more, paths.shape[1]), patches.newest(more))
    return torch.unflatten(out, 0, paths.shape[:2])


def _row_bytes(sizes: Sizes, tokens: int) -> float:
    """Approximate bytes that one row of tokens needs while it is encoded: activations and attention."""
    return 4 * tokens * (12 * sizes.width + sizes.width // HEAD * tokens)


def _make_noise(seed: int, step: int, into: Tensor) -> None:
    """Fill ``into``, (NOISE, PATHS, DRAWS, 16), with uniform random numbers."""
    torch.rand(into.shape, generator=torch.Generator().manual_seed(seed * 65536 + step), out=into)
