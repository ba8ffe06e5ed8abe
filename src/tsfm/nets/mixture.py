"""Mixtures of experts: on a CPU each token's own experts, on a GPU every expert for every token, in two products.

A token uses two of 8 or 32 experts. To compute these alone, the host must know how many tokens each expert has, so it
waits for a GPU in every layer, and then starts a few small products for each expert; the host takes most of the time.
Two large products with a weight for each token and expert, mostly 0, are more arithmetic and need none of this.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS = 4096  # tokens in one pass: the hidden layer of all experts stays below half a GiB


class Dense:
    """Gated feed-forwards of one size, whose outputs are added with a weight for each token."""

    def __init__(self, blocks: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Take the experts' weights.

        Args:
            blocks: for each expert gate stacked on up, (2 * inner, d), and down, (d, inner).
        """
        self._into = torch.cat([into for into, _ in blocks])
        self._down = torch.cat([down for _, down in blocks], 1)
        self._experts = len(blocks)

    def __call__(self, x: Tensor, weights: Tensor) -> Tensor:
        """Mix the experts' outputs.

        Args:
            x: shape (tokens, d), in the dtype of the experts.
            weights: shape (tokens, experts), float32; 0: the token does not use the expert.

        Returns:
            shape (tokens, d), float32.
        """
        parts = zip(torch.split(x, ROWS), torch.split(weights, ROWS), strict=True)
        return torch.cat([self._mixed(*part) for part in parts])

    def _mixed(self, x: Tensor, weights: Tensor) -> Tensor:
        gate, up = torch.unflatten(F.linear(x, self._into), 1, (self._experts, 2, -1)).unbind(2)
        hidden = F.silu(gate).mul_(up).mul_(weights[..., None].to(x.dtype))
        return F.linear(hidden.flatten(1), self._down).float()


def spread(chosen: Tensor, weights: Tensor, experts: int) -> Tensor:
    """A weight for every expert: of ``chosen``, (tokens, n), those of ``weights``, the others 0; (tokens, experts)."""
    return weights.new_zeros(len(chosen), experts).scatter_(1, chosen, weights)


def gathered(x: Tensor, chosen: Tensor, weights: Tensor, into: Tensor, down: Tensor) -> Tensor:
    """Run each row of (M, d) through its ``chosen`` experts, (M, n), and mix their outputs by ``weights``, (M, n).

    ``into`` holds gate stacked on up, (experts, 2 * inner, d), ``down`` (experts, d, inner). Rows are sorted by
    expert, so that each expert is one product over adjacent rows.
    """
    expert, order = chosen.flatten().sort(stable=True)
    ends = torch.bincount(expert, minlength=len(into)).cumsum(0).tolist()
    spans = [(e, a, b) for e, (a, b) in enumerate(pairwise([0, *ends])) if b > a]
    rows = x[order // chosen.shape[1]]
    both, out = rows.new_empty(len(rows), into.shape[1]), torch.empty_like(rows)
    for e, a, b in spans:
        torch.mm(rows[a:b], into[e].t(), out=both[a:b])
    gate, up = both.chunk(2, -1)
    middle = F.silu(gate) * up
    for e, a, b in spans:
        torch.mm(middle[a:b], down[e].t(), out=out[a:b])
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    return (out[back].float().view(len(x), chosen.shape[1], -1) * weights[..., None]).sum(1)
