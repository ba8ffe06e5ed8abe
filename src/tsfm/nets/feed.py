"""A feed-forward of two products, in float32, bfloat16 or int8: what the layers of most networks end with."""

from __future__ import annotations

import torch
from torch import Tensor

from tsfm.nets import int8
from tsfm.nets.product import Product, after, product
from tsfm.nets.t5 import ACTIVATIONS


def feed(
    up: Tensor,
    down: Tensor,
    act: str,
    dtype: torch.dtype,
    gated: bool = False,
    biases: tuple[Tensor | None, Tensor | None] = (None, None),
    norm: int8.Norm | None = None,
) -> Product:
    """Make down(act(up(x))), or down(act(gate(x)) * up(x)) where ``up`` has the gate's rows before its own.

    Args:
        up: shape (hidden, in), or (2 * hidden, in) with a gate; the caller may drop it, and ``down``.
        down: shape (out, hidden).
        act: a key of ``t5.ACTIVATIONS``.
        dtype: of x and the result; with int8 these are float32.
        biases: of up and down.
        norm: of x, which is float32 then.
    """
    if dtype == torch.int8:
        return int8.Feed(up, down, act, gated, biases, norm)
    if norm:
        return after(norm, feed(up, down, act, dtype, gated, biases), dtype)
    first, second = product(up, biases[0], dtype), product(down, biases[1], dtype)
    activate = ACTIVATIONS[act]

    def plain(x: Tensor) -> Tensor:
        return second(activate(first(x)))

    def with_gate(x: Tensor) -> Tensor:
        gate, value = first(x).chunk(2, -1)
        return second(activate(gate).mul_(value))

    return with_gate if gated else plain
