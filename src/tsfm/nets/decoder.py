"""Parts of a causal decoder that runs many series of different lengths without padding.

The tokens of all series are packed in one matrix (tokens, hidden), so every product runs once for the batch and
no work is spent on padding. Only attention runs series by series, and each series has its own cache of keys and
values, so on a CPU the arithmetic of a series is the same alone and in a batch. On a GPU series of one length share
a cache and are attended to together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.nets.devices import is_gpu

Angles = tuple[Tensor, Tensor]  # cosines and signed sines, each of shape (tokens, 1, width)
QUERY_BLOCK = 128  # queries per block: large enough for full speed, small enough to skip most of the future


class Rotary:
    """Rotary position embedding in the layout that rotates the first half of each head against the second half.

    Source: Su et al., RoFormer; the layout is that of transformers' ``apply_rotary_pos_emb``.
    """

    def __init__(self, width: int, positions: int, theta: float, dtype: torch.dtype, device: str) -> None:
        frequency = theta ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
        angle = torch.outer(torch.arange(positions, dtype=torch.float32), frequency)[:, None]
        cos, sin = angle.cos(), angle.sin()
        self._cos = torch.cat((cos, cos), -1).to(device, dtype)  # (positions, 1, width)
        self._sin = torch.cat((-sin, sin), -1).to(device, dtype)

    def at(self, positions: Tensor) -> Angles:
        """The angles of ``positions``, shape (tokens,). All layers use the same angles."""
        return self._cos[positions], self._sin[positions]


def turned(heads: Tensor, angles: Angles) -> Tensor:
    """``heads``, shape (tokens, heads, width), rotated by the angles of their tokens."""
    cos, sin = angles
    first, second = heads.chunk(2, -1)
    # Works on whole heads: halves of 16 numbers leave the CPU's vectors half empty and take three times as long.
    return (heads * cos).addcmul_(torch.cat((second, first), -1), sin)


class Cache:
    """Keys and values of some series of one length in all layers, with room for ``capacity`` positions."""

    def __init__(self, layers: int, series: int, heads: int, capacity: int, width: int, like: Tensor) -> None:
        self._store = like.new_empty(layers, 2, series, heads, capacity, width)
        self.series = series
        self.length = 0  # positions that all layers have processed

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> Tensor:
        """Append new keys and values, each of shape (series, new, heads, width).

        Returns:
            shape (2, series, heads, length + new, width): all keys, all values.
        """
        end = self.length + keys.shape[1]
        new = self._store[layer, :, :, :, self.length : end]
        new[0].copy_(keys.transpose(1, 2))
        new[1].copy_(values.transpose(1, 2))
        return self._store[layer, :, :, :, :end]


@dataclass(frozen=True)
class Span:
    """The rows of the packed tokens that belong to the series of a cache, one series after the other."""

    start: int
    stop: int
    cache: Cache

    @property
    def new(self) -> int:
        """New tokens of each series."""
        return (self.stop - self.start) // self.cache.series

    @property
    def ends(self) -> range:
        """The row of the last token of each series."""
        return range(self.start + self.new - 1, self.stop, self.new)

    def by_series(self, tokens: Tensor) -> Tensor:
        """Of packed tokens (tokens, ...) those of this span, (series, new, ...)."""
        return torch.unflatten(tokens[self.start : self.stop], 0, (self.cache.series, -1))


def alike(lengths: Sequence[int], device: str | torch.device, most: int) -> list[list[int]]:
    """Which series share a cache, as their indices, each index once.

    On a GPU these are series of one length, at most ``most`` tokens together: it attends to all of them in the time
    in which a program starts one kernel. On a CPU it is each series alone, in the given order, since its caches hold
    the keys of one.
    """
    if not is_gpu(device):
        return [[index] for index in range(len(lengths))]
    found: dict[int, list[list[int]]] = {}
    for index, length in enumerate(lengths):
        groups = found.setdefault(length, [[]])
        if groups[-1] and (len(groups[-1]) + 1) * length > most:
            groups.append([])
        groups[-1].append(index)
    return [group for groups in found.values() for group in groups]


def spans(lengths: Sequence[int], caches: Sequence[Cache]) -> list[Span]:
    """The spans of caches whose series are packed one after the other, each with so many new tokens."""
    rows = [new * cache.series for new, cache in zip(lengths, caches, strict=True)]
    return [Span(stop - n, stop, cache) for n, stop, cache in zip(rows, accumulate(rows), caches, strict=True)]


def positions(packed: Sequence[Span]) -> Tensor:
    """The position of every packed token in its own series, shape (tokens,)."""
    return torch.cat([torch.arange(s.cache.length, s.cache.length + s.new).repeat(s.cache.series) for s in packed])


def last(packed: Sequence[Span]) -> list[int]:
    """The rows of the last token of every series."""
    return [end for span in packed for end in span.ends]


def attend(query: Tensor, key: Tensor, value: Tensor, layer: int, packed: Sequence[Span]) -> Tensor:
    """Causal attention of every series over its cache and its new tokens.

    Args:
        query: shape (tokens, heads, width), or (series, heads, width) for only the last token of each series.
        key, value: shape (tokens, heads, width); they are appended to the caches.

    Returns:
        shape (rows, heads * width): the rows of ``query`` with their heads joined.
    """
    rows = [span.cache.series if len(query) < len(key) else span.stop - span.start for span in packed]
    joined = torch.empty_like(query)
    for span, queries, into in zip(packed, torch.split(query, rows), torch.split(joined, rows), strict=True):
        keys, values = span.cache.extend(layer, span.by_series(key), span.by_series(value))
        by_series = torch.unflatten(queries, 0, (span.cache.series, -1)).transpose(1, 2)
        into.copy_(_causal(by_series, keys, values).transpose(1, 2).flatten(0, 1))
    return joined.flatten(1)


def _causal(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """All of shape (series, heads, tokens, width)."""
    new, total = query.shape[2], keys.shape[2]
    if query.dtype == torch.bfloat16 and not is_gpu(query.device):
        return _causal_blocks(query[0], keys[0], values[0])[None]
    mask = None
    if 1 < new < total:
        mask = torch.ones(new, total, dtype=torch.bool, device=query.device).tril(total - new)
    return F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, is_causal=1 < new == total)


@cache
def _future(dtype: torch.dtype) -> Tensor:
    """The mask that hides the later keys of a block from its queries."""
    return torch.full((QUERY_BLOCK, QUERY_BLOCK), -torch.inf, dtype=dtype).triu(1)


def _causal_blocks(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    # In bfloat16 the fused kernel takes twice the time of plain products over the keys that each block may see.
    # Of one series, (heads, tokens, width): on a CPU each has a cache of its own.
    new, past = query.shape[1], keys.shape[1] - query.shape[1]
    query = query * query.shape[-1] ** -0.5
    future = _future(query.dtype)
    blocks = []
    for start in range(0, new, QUERY_BLOCK):
        block = query[:, start : start + QUERY_BLOCK]
        size, visible = block.shape[1], past + start + block.shape[1]
        scores = block @ keys[:, :visible].transpose(1, 2)
        scores[:, :, visible - size :] += future[:size, :size]
        blocks.append(scores.softmax(-1) @ values[:, :visible])
    return torch.cat(blocks, 1)
