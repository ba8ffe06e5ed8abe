"""Layers with int8 weights, for CPUs with AVX512-VNNI: a product, a feed-forward, a mixture of feed-forwards.

A weight is quantised once, with a scale for each output. An activation is quantised when it arrives, with a scale for
each row, and the sums are exact (int8.c). So a row's result is the same to the last bit alone, in any batch and on any
number of threads. No calibration data are needed. Layers take and return float32 unless they say otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tsfm.errors import ConfigError
from tsfm.nets.int8_kernel import ALIGN, BLOCK, COLUMNS, MOST, TILE, Matrix, Weights, library
from tsfm.nets.parallel import each
from tsfm.series import Runtime
from tsfm.weights import reader

FEW = 96  # rows; with fewer, the CPUs share a layer's weights instead of its rows
SMALL = 2**25  # (rows + LAG) * weights; below it, another CPU would start later than the work takes
LAG = 32  # rows that are multiplied in the time in which their weights come from memory
GROUPS = 4  # parts of a feed-forward's hidden layer, each with its own scales
ACTIVATIONS = {"none": 0, "relu": 1, "silu": 2, "swish": 2, "gelu": 3, "gelu_new": 4, "gelu_pytorch_tanh": 4}


def arithmetic(runtime: Runtime) -> tuple[torch.dtype, str]:
    """As ``reader.arithmetic``, for a family that has these layers: ``torch.int8`` if the settings ask for it.

    Raises:
        ConfigError: this host cannot do it.
    """
    if runtime.dtype != "int8":
        return reader.arithmetic(runtime)
    if runtime.device != "cpu":
        raise ConfigError(f"dtype: int8 is for CPUs; expected auto, float32 or bfloat16 with device {runtime.device}")
    library()
    return torch.int8, "int8 with AVX512-VNNI"


def between(dtype: torch.dtype) -> torch.dtype:
    """What attention and other parts run in: ``dtype``, or with int8 what is fastest on this CPU."""
    return reader.arithmetic(Runtime())[0] if dtype == torch.int8 else dtype


def or_float32(dtype: torch.dtype) -> torch.dtype:
    """Of products that are too inexact in bfloat16: int8 if that is asked for, float32 otherwise."""
    return dtype if dtype == torch.int8 else torch.float32


def given(dtype: torch.dtype) -> torch.dtype:
    """What products in ``dtype`` are given: with int8 float32, which they quantise themselves."""
    return torch.float32 if dtype == torch.int8 else dtype


class Product:
    """x times ``weight`` transposed, plus ``bias``; the result is in ``out``, float32 or bfloat16."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, out: torch.dtype = torch.float32) -> None:
        self._call, self._weights, self._out = library().tsfm_product, Weights([weight], [bias]), out

    def __call__(self, x: Tensor) -> Tensor:
        """From shape (..., in), any dtype, to (..., out)."""
        matrix = self._weights.first
        rows = x.float().reshape(-1, matrix.inputs).contiguous()
        made = torch.empty(len(rows), matrix.outputs, dtype=self._out)

        def work(piece: tuple[slice, slice]) -> None:
            some, panels = piece
            room = _room((MOST + TILE) * (matrix.padded + 4))
            self._call(
                *(rows[some].data_ptr(), some.stop - some.start, self._weights.address(), panels.start, panels.stop),
                *(made[some].data_ptr(), self._out == torch.bfloat16, room.data_ptr()),
            )

        cpus = _cpus(len(rows), matrix.inputs * matrix.outputs)
        if len(rows) < FEW:
            pieces = [(slice(0, len(rows)), panels) for panels in _slices(matrix.panels, 1, cpus)]
        else:
            pieces = [(some, slice(0, matrix.panels)) for some in _slices(len(rows), TILE, cpus)]
        each(work, pieces)
        return made.view(*x.shape[:-1], -1)


class Feed:
    """down(act(up(x))), or down(act(gate(x)) * up(x)) where ``up`` has the gate's rows before its own.

    Args:
        up: shape (hidden, in), or (2 * hidden, in) with a gate.
        down: shape (out, hidden).
        act: a key of ``ACTIVATIONS``.
        biases: of up and down.
    """

    def __init__(
        self,
        up: Tensor,
        down: Tensor,
        act: str,
        gated: bool = False,
        biases: tuple[Tensor | None, Tensor | None] = (None, None),
    ) -> None:
        self._call, self._act, self._gated = library().tsfm_feed, ACTIVATIONS[act], gated
        # Of any number of threads each takes whole groups, and their sum is always in the same order.
        size = -(-down.shape[1] // GROUPS // COLUMNS) * COLUMNS
        parts = [torch.split(part, size) for part in up.chunk(2 if gated else 1)]
        of_up = torch.split(biases[0], size) if biases[0] is not None else [None] * len(parts[0])
        ups = [torch.cat(group) for group in zip(*parts, strict=True)]
        self._up = Weights(ups, of_up, gated)
        self._down = Weights(torch.split(down, size, 1), [biases[1], *[None] * (len(ups) - 1)])
        self._groups, self._hidden = len(ups), size

    def __call__(self, x: Tensor) -> Tensor:
        """From shape (..., in), any dtype, to (..., out)."""
        rows = x.float().reshape(-1, self._up.first.inputs).contiguous()
        up, down = self._up.first, self._down.first
        cpus = _cpus(len(rows), self._groups * up.outputs * (up.inputs + down.outputs))
        shared = cpus > 1 and len(rows) < FEW
        made = torch.zeros(self._groups if shared else 1, len(rows), down.outputs)

        def work(piece: tuple[slice, int, int]) -> None:
            some, first, groups = piece
            room = _room(_feed_room(up, self._hidden))
            self._call(
                *(rows[some].data_ptr(), some.stop - some.start, self._up.address(first), self._down.address(first)),
                *(groups, self._act, self._gated, made[first if shared else 0, some].data_ptr(), room.data_ptr()),
            )

        if shared:
            each(work, [(slice(0, len(rows)), group, 1) for group in range(self._groups)])
        else:
            each(work, [(some, 0, self._groups) for some in _slices(len(rows), TILE, cpus)])
        total = made[0]
        for part in made[1:]:
            total += part
        return total.view(*x.shape[:-1], -1)


class Mixture:
    """The sum of each row's chosen experts, and of one that all rows share, each of them a gated feed-forward.

    Args:
        blocks: (gate stacked on up, down) of each expert; with ``shared`` the last one is the shared expert.
    """

    def __init__(self, blocks: Sequence[tuple[Tensor, Tensor]], act: str, shared: bool = False) -> None:
        self._call, self._act = library().tsfm_mixture, ACTIVATIONS[act]
        self._up = Weights([up for up, _ in blocks], [None] * len(blocks), gated=True)
        self._down = Weights([down for _, down in blocks], [None] * len(blocks))
        self._experts, self._hidden = len(blocks) - shared, max(down.shape[1] for _, down in blocks)

    def __call__(self, x: Tensor, chosen: Tensor, chances: Tensor, shared: Tensor | None = None) -> Tensor:
        """The mixture of x, shape (rows, in).

        Args:
            chosen: the experts of each row, shape (rows, best).
            chances: their factors.
            shared: the shared expert's factor for each row, shape (rows, 1).
        """
        x, chosen, chances = x.contiguous(), chosen.contiguous(), chances.contiguous()
        made, best = torch.zeros(len(x), self._down.first.outputs), chosen.shape[1]

        def work(some: slice) -> None:
            count, padded = some.stop - some.start, self._up.first.padded
            room = _room((count + TILE) * (padded + 4 + 12 * best) + _feed_room(self._up.first, self._hidden))
            self._call(
                *(x[some].data_ptr(), count, self._up.address(), self._down.address(), self._experts),
                *(chosen[some].data_ptr(), chances[some].data_ptr(), best),
                *(None if shared is None else shared[some].data_ptr(), self._act, made[some].data_ptr()),
                room.data_ptr(),
            )

        weights = self._up.first.inputs * self._hidden * best  # that most rows need
        each(work, _slices(len(x), TILE, _cpus(len(x), weights)))
        return made


def _feed_room(up: Matrix, hidden: int) -> int:
    return (BLOCK + TILE) * (2 * int(up.padded) + 5 * hidden + ALIGN)


def _room(size: int) -> Tensor:
    return torch.empty(size + 8 * ALIGN, dtype=torch.uint8)


def _cpus(rows: int, weights: int) -> int:
    """On how many CPUs the calling thread had better do such work."""
    return torch.get_num_threads() if (rows + LAG) * weights >= SMALL else 1


def _slices(size: int, step: int, cpus: int) -> list[slice]:
    """A slice for each CPU, each of them but the last a multiple of ``step``."""
    length = max(step, -(-size // cpus // step) * step)
    return [slice(start, min(start + length, size)) for start in range(0, size, length)]
