"""Parts of a causal decoder that runs many series of different lengths without padding.

The tokens of all series are packed in one matrix (tokens, hidden), so every product runs once for the batch and
no work is spent on padding. Only attention runs series by series, and each series has its own cache of keys and
values. The arithmetic of a series is therefore the same alone and in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

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
    """Keys and values of one series in all layers, with room for ``capacity`` positions."""

    def __init__(self, layers: int, heads: int, capacity: int, width: int, like: Tensor) -> None:
        self._store = like.new_empty(layers, 2, heads, capacity, width)
        self.length = 0  # positions that all layers have processed

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> Tensor:
        """Append new keys and values, each of shape (new, heads, width).

        Returns:
            shape (2, heads, length + new, width): all keys, all values.
        """
        end = self.length + len(keys)
        new = self._store[layer, :, :, self.length : end]
        new[0].copy_(keys.transpose(0, 1))
        new[1].copy_(values.transpose(0, 1))
        return self._store[layer, :, :, :end]


@dataclass(frozen=True)
class Span:
    """The rows of the packed tokens that belong to one series, and the cache of its earlier tokens."""

    start: int
    stop: int
    cache: Cache

    def __len__(self) -> int:
        return self.stop - self.start


def spans(lengths: Sequence[int], caches: Sequence[Cache]) -> list[Span]:
    """The spans of series that are packed one after the other."""
    stops = torch.tensor(lengths).cumsum(0).tolist()
    return [Span(stop - n, stop, cache) for n, stop, cache in zip(lengths, stops, caches, strict=True)]


def positions(packed: Sequence[Span]) -> Tensor:
    """The position of every packed token in its own series, shape (tokens,)."""
    return torch.cat([torch.arange(s.cache.length, s.cache.length + len(s)) for s in packed])


def attend(query: Tensor, key: Tensor, value: Tensor, layer: int, packed: Sequence[Span]) -> Tensor:
    """Causal attention of every series over its cache and its new tokens.

    Args:
        query: shape (tokens, heads, width), or (series, heads, width) for only the last token of each series.
        key, value: shape (tokens, heads, width); they are appended to the caches.

    Returns:
        shape (rows, heads * width): the rows of ``query`` with their heads joined.
    """
    last_only = len(query) < len(key)
    joined = torch.empty_like(query)
    for index, span in enumerate(packed):
        rows = slice(index, index + 1) if last_only else slice(span.start, span.stop)
        keys, values = span.cache.extend(layer, key[span.start : span.stop], value[span.start : span.stop])
        queries = query[rows].transpose(0, 1)
        joined[rows] = _causal(queries, keys, values).transpose(0, 1)
    return joined.flatten(1)


def _causal(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    new, total = query.shape[1], keys.shape[1]
    if query.dtype == torch.bfloat16 and query.device.type == "cpu":
        return _causal_blocks(query, keys, values)
    mask = None
    if 1 < new < total:
        mask = torch.ones(new, total, dtype=torch.bool, device=query.device).tril(total - new)
    # The leading 1 is needed: torch's fused kernel accepts only four dimensions.
    return F.scaled_dot_product_attention(
        query[None], keys[None], values[None], attn_mask=mask, is_causal=1 < new == total
    )[0]


@cache
def _future(dtype: torch.dtype) -> Tensor:
    """The mask that hides the later keys of a block from its queries."""
    return torch.full((QUERY_BLOCK, QUERY_BLOCK), -torch.inf, dtype=dtype).triu(1)


def _causal_blocks(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    # In bfloat16 the fused kernel takes twice the time of plain products over the keys that each block may see.
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
