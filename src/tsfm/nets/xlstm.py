"""The cells of an xLSTM for many series at once: sLSTM, step by step, and mLSTM, as attention that decays with time.

Written from tirex-2 0.4.0 (``tirex2.model.component``), whose cells are sLSTM of flashrnn 1.0.8, ``vanilla``, and mLSTM
of Beck et al., xLSTM: Extended Long Short-Term Memory; reads its tensor names. All that does not depend on the step
before is computed for all steps together: of an sLSTM only the product with its own last output and the gates remain.

A cell can begin behind steps that all series have in common: what it keeps of those is computed once.

Shapes: T steps, R series, D channels, H heads, K channels of a head, P steps in common.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.nets.product import Product, product

Take = Callable[[str, Sequence[int]], Tensor]  # returns the tensor with this name and checks its shape
Kept = tuple[Tensor, ...]  # what a cell keeps of steps

EPSILON = 1e-6
CAP = 15.0  # the gates of an mLSTM stay below this size


class Cell(Protocol):
    """A recurrence over steps."""

    def __call__(self, x: Tensor, before: Kept | None) -> Tensor:
        """Its outputs, (T, R, D) to the same shape; ``before``: one of ``kept``, of the steps before the first one."""
        ...

    def kept(self, x: Tensor) -> Kept:
        """What it keeps of each of the steps of one series, (P, 1, D)."""
        ...

    def until(self, kept: Kept, steps: int) -> Kept:
        """What it keeps of the first ``steps`` of them, from 1 up."""
        ...


def linear(weight: Tensor, dtype: torch.dtype) -> Product:
    """A product in ``dtype`` over the last axis of a tensor of any shape; the answer is float32."""
    multiply = product(weight.to(dtype))
    return lambda x: multiply(x.to(dtype).flatten(0, -2)).float().view(*x.shape[:-1], -1)


class SLstm:
    """Exponential gates and a state of one number a channel; each head mixes its own channels over time."""

    def __init__(self, take: Take, at: str, width: int, heads: int) -> None:
        size = width // heads
        # The package's projections fgate, igate, zgate and ogate drive the gates i, f, z and o, in this order.
        gates = [take(f"{at}.{name}gate.weight", (heads, size, size)).float() for name in "fizo"]
        self._into = torch.cat(gates, 1).transpose(1, 2).contiguous()  # (H, K, 4 K)
        again = take(f"{at}._recurrent_kernel_", (heads, size, 4, size))
        self._again = again.float().clone().view(heads, size, 4 * size)
        self._shift = take(f"{at}._bias_", (heads, 4, size)).float().reshape(heads, 1, 4 * size)
        self._scale = take(f"{at}.group_norm.weight", (width,)).float().clone()

    def __call__(self, x: Tensor, before: Kept | None) -> Tensor:
        made = torch.stack([state[0] for state in self._steps(x, before)])  # (T, H, R, K)
        return F.layer_norm(made, made.shape[-1:], eps=EPSILON).transpose(1, 2).flatten(2).mul_(self._scale)

    def kept(self, x: Tensor) -> Kept:
        return tuple(torch.stack(states) for states in zip(*self._steps(x, None), strict=True))

    def until(self, kept: Kept, steps: int) -> Kept:
        return tuple(states[steps - 1] for states in kept)

    def _steps(self, x: Tensor, before: Kept | None) -> Iterator[Kept]:
        """After each step the output, the state, its norm and the gates' largest exponent so far, (H, R, K) each."""
        heads, size, _ = self._into.shape
        steps, rows, _ = x.shape
        driven = torch.bmm(x.view(steps * rows, heads, size).transpose(0, 1), self._into).add_(self._shift)
        zero = x.new_zeros(heads, rows, size)
        y, c, n, m = before or (zero, zero, zero, torch.full_like(zero, -torch.inf))
        y = y.expand(heads, rows, size)
        for raw in driven.view(heads, steps, rows, -1).unbind(1):
            i, f, z, o = torch.baddbmm(raw, y, self._again).chunk(4, -1)
            f = F.logsigmoid(f).add_(m)
            m = torch.maximum(i, f)
            i, f = (i - m).exp_(), f.sub_(m).exp_()
            c = (f * c).addcmul_(i, z.tanh())
            n = (f * n).add_(i).clamp_(min=1)
            y = (c / n).mul_(o.sigmoid())
            yield y, c, n, m


class MLstm:
    """Exponential gates of one number a head and a state of one matrix a head."""

    def __init__(self, take: Take, at: str, width: int, heads: int, dtype: torch.dtype) -> None:
        self._heads, self._width = heads, width
        names = {"q": width // 2, "k": width // 2, "v": width, "ogate_preact": width}
        self._sizes = list(names.values())
        self._into = linear(
            torch.cat([take(f"{at}.{name}.weight", (out, width)) for name, out in names.items()]), dtype
        )
        gates = [f"{at}.{name}gate_preact" for name in "if"]
        self._gates = torch.cat([take(f"{name}.weight", (heads, width)).float() for name in gates])
        self._shift = torch.cat([take(f"{name}.bias", (heads,)).float() for name in gates])
        self._scale = take(f"{at}.multihead_norm.weight", (width,)).float().clone()
        self._out = linear(take(f"{at}.out_proj.weight", (width, width)), dtype)

    def __call__(self, x: Tensor, before: Kept | None) -> Tensor:
        query, gate, own = self._parts(x)
        if before:
            own = tuple(torch.cat((a.expand(b.shape[0], *a.shape[1:]), b), 2) for a, b in zip(before, own, strict=True))
        key, value, opened, lasting = own
        steps = len(x)
        passed = lasting.cumsum(2)  # (R, H, P + T, 1)
        ends = passed[:, :, -steps:]
        exponents = ends - passed.transpose(2, 3) + opened.transpose(2, 3)  # (R, H, T, P + T)
        later = torch.ones(exponents.shape[-2:], dtype=torch.bool, device=x.device).triu_(key.shape[2] - steps + 1)
        exponents.masked_fill_(later, -torch.inf)
        largest = torch.maximum(exponents.amax(-1, keepdim=True), ends)
        scores = (query @ key.transpose(2, 3)).mul_(query.shape[-1] ** -0.5).mul_(exponents.sub_(largest).exp_())
        norm = torch.maximum(scores.sum(-1, keepdim=True).abs(), largest.neg().exp())
        made = (scores @ value).div_(norm.add_(EPSILON))  # (R, H, T, K)
        made = F.layer_norm(made, made.shape[-1:], eps=EPSILON).permute(2, 0, 1, 3).flatten(2)
        return self._out(made.mul_(self._scale).mul_(gate.sigmoid()))

    def kept(self, x: Tensor) -> Kept:
        return self._parts(x)[2]

    def until(self, kept: Kept, steps: int) -> Kept:
        return tuple(part[:, :, :steps] for part in kept)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor, Kept]:
        """Queries, (R, H, T, K); the output's gate, (T, R, D); keys, values, input gates and decays as the queries."""
        query, key, value, gate = torch.split(self._into(x), self._sizes, -1)
        gates = F.linear(x, self._gates, self._shift).div_(CAP).tanh_().mul_(CAP)
        opened, forgotten = gates.chunk(2, -1)

        def each_head(part: Tensor) -> Tensor:
            return torch.unflatten(part, -1, (self._heads, -1)).permute(1, 2, 0, 3)

        own = each_head(key), each_head(value), each_head(opened), F.logsigmoid(each_head(forgotten))
        return each_head(query), gate, own
