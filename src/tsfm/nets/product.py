"""A matrix product with a fixed weight: uses torch's private oneDNN operators where they work, else ``F.linear``.

The private operators are ``torch.ops.mkldnn._reorder_linear_weight`` and ``_linear_pointwise`` of torch 2.13
(aten/src/ATen/native/mkldnn/, MKLDNNConversions.cpp and Linear.cpp); torch's own compiler uses them the same way.
Without them a float32 product of 384 by 3,072 takes 2 to 3 times as long, measured for 16 to 512 rows on one CPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.nets import int8

log = logging.getLogger(__name__)
ROWS = 512  # oneDNN chooses the weight's layout for this number of rows; any other number works too
Product = Callable[[Tensor], Tensor]


def product(
    weight: Tensor, bias: Tensor | None = None, dtype: torch.dtype | None = None, norm: int8.Norm | None = None
) -> Product:
    """Make a function from shape (rows, in) to (rows, out): x times ``weight`` transposed, plus ``bias``.

    Args:
        weight: shape (out, in). The caller may drop it, and ``bias``: copies are kept.
        bias: shape (out,).
        dtype: of weight, bias, x and result; None: that of the weight. With int8, x may be of any dtype, and the
            result is in the one that ``int8.between`` gives.
        norm: of x, which is float32 then.
    """
    if dtype == torch.int8:
        return int8.Product(weight, bias, int8.between(dtype), norm)
    dtype = dtype or weight.dtype
    if norm:
        return after(norm, product(weight, bias, dtype), dtype)
    # What is kept is a copy: a tensor that stays in the mapped file would keep the whole file mapped.
    bias = None if bias is None else bias.to(dtype, copy=True)
    if weight.device.type == "cpu" and _private_works(dtype):
        return _private(weight.to(dtype), bias)
    return partial(F.linear, weight=weight.to(dtype, copy=True), bias=bias)


def large(weight: Tensor, dtype: torch.dtype, norm: int8.Norm | None = None) -> Product:
    """A product in ``dtype``; with int8 it takes and returns float32."""
    return int8.Product(weight, norm=norm) if dtype == torch.int8 else product(weight, None, dtype, norm)


def add(onto: Tensor, act: Product, x: Tensor) -> Tensor:
    """Add ``act(x)`` to ``onto`` in place: with int8 in the same call, so that nothing delays the next one."""
    if isinstance(act, int8.Product | int8.Feed) and onto.is_contiguous():
        return act(x, onto)
    return onto.add_(act(x))


def after(norm: int8.Norm, act: Product, dtype: torch.dtype) -> Product:
    """``act`` of what the norm makes of x, in ``dtype``."""
    weight, epsilon = norm
    return lambda x: act(F.rms_norm(x, weight.shape, weight, epsilon).to(dtype))


def _private(weight: Tensor, bias: Tensor | None) -> Product:
    reordered = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)

    def multiply(x: Tensor) -> Tensor:
        made: Tensor = torch.ops.mkldnn._linear_pointwise(x, reordered, bias, "none", [], None)
        return made

    return multiply


@cache
def _private_works(dtype: torch.dtype) -> bool:
    """Whether the private operators exist and agree with ``F.linear`` on a small product of this dtype."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    numbers = torch.linspace(-1, 1, 32 * 32, dtype=torch.float32).reshape(32, 32).to(dtype)
    expected = F.linear(numbers, numbers, numbers[0])
    try:
        found = _private(numbers, numbers[0])(numbers)
    except (AttributeError, RuntimeError, TypeError) as error:  # missing operator; it refuses; different signature
        log.warning("torch %s lacks the oneDNN operators used here (%s): F.linear is used", torch.__version__, error)
        return False
    if found.shape == expected.shape and torch.allclose(found, expected, rtol=0, atol=32 * torch.finfo(dtype).eps):
        return True
    log.warning("torch %s: its oneDNN operators give other numbers than F.linear, which is used", torch.__version__)
    return False
