"""Layers with int8 weights, for CPUs with AVX512-VNNI: a product, a feed-forward, a mixture of feed-forwards.

A weight is quantised once, with a scale for each output. An activation is quantised when it arrives, with a scale for
each row, and the sums are exact (int8.c). So a row's result is the same to the last bit alone, in any batch and on any
number of threads, which are torch's own. No calibration data are needed. Layers take and return float32 unless they say
otherwise.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from tsfm.errors import ConfigError
from tsfm.nets.int8_kernel import ALIGN, COLUMNS, FEED, FEW, MIXTURE, MOST, PRODUCT, TILE, Job, Matrix, Weights, library
from tsfm.series import Runtime
from tsfm.weights import reader

SMALL = 2**22  # (rows + LAG) * weights; below it, another CPU would start later than the work takes
LAG = 32  # rows that are multiplied in the time in which their weights come from memory
GROUPS = 4  # parts of a feed-forward's hidden layer, each with its own scales
Norm = tuple[Tensor, float]  # weights and epsilon of a norm by the root mean square, as of ``F.rms_norm``
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
    """x times ``weight`` transposed, plus ``bias``; the result is in ``out``, float32 or bfloat16.

    With ``norm`` x is first normed by its root mean square.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        out: torch.dtype = torch.float32,
        norm: Norm | None = None,
    ) -> None:
        self._weights, self._out, self._norm = Weights([weight], [bias]), out, norm

    def __call__(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """From shape (..., in), any dtype, to (..., out); or added to ``onto``, which may be x: float32, contiguous."""
        matrix = self._weights.first
        rows = x.float().reshape(-1, matrix.inputs).contiguous()
        made = torch.empty(len(rows), matrix.outputs, dtype=self._out) if onto is None else onto
        job = Job(PRODUCT, bfloats=self._out == torch.bfloat16, adds=onto is not None, up=self._weights.address())
        space = 4 * (MOST + TILE) + (min(len(rows), MOST) + TILE) * matrix.padded
        _run(job, rows, made, matrix.inputs * matrix.outputs, space, self._norm)
        return made.view(*x.shape[:-1], -1)


class Feed:
    """down(act(up(x))), or down(act(gate(x)) * up(x)) where ``up`` has the gate's rows before its own.

    Args:
        up: shape (hidden, in), or (2 * hidden, in) with a gate.
        down: shape (out, hidden).
        act: a key of ``ACTIVATIONS``.
        biases: of up and down.
        norm: of x.
    """

    def __init__(
        self,
        up: Tensor,
        down: Tensor,
        act: str,
        gated: bool = False,
        biases: tuple[Tensor | None, Tensor | None] = (None, None),
        norm: Norm | None = None,
    ) -> None:
        parts = torch.split(down, -(-down.shape[1] // GROUPS // COLUMNS) * COLUMNS, 1)
        self._up = Weights([up], biases[:1], gated)
        self._down = Weights(parts, [biases[1], *[None] * (len(parts) - 1)])
        self._act, self._gated, self._norm = ACTIVATIONS[act], gated, norm
        self._groups, self._hidden = len(parts), down.shape[1]

    def __call__(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """As ``Product``'s."""
        up, down = self._up.first, self._down.first
        rows = x.float().reshape(-1, up.inputs).contiguous()
        made = torch.empty(len(rows), down.outputs) if onto is None else onto
        job = Job(FEED, self._act, self._gated, adds=onto is not None, groups=self._groups)
        job.up, job.down = self._up.address(), self._down.address()
        weights = up.inputs * up.outputs + self._hidden * down.outputs
        _run(job, rows, made, weights, _feed_room(up, self._hidden), self._norm)
        return made.view(*x.shape[:-1], -1)


class Mixture:
    """The sum of each row's chosen experts, and of one that all rows share, each of them a gated feed-forward.

    Args:
        blocks: (gate stacked on up, down) of each expert; with ``shared`` the last one is the shared expert.
    """

    def __init__(self, blocks: Sequence[tuple[Tensor, Tensor]], act: str, shared: bool = False) -> None:
        self._up = Weights([up for up, _ in blocks], [None] * len(blocks), gated=True)
        self._down = Weights([down for _, down in blocks], [None] * len(blocks))
        self._act, self._experts = ACTIVATIONS[act], len(blocks) - shared
        self._hidden = max(down.shape[1] for _, down in blocks)

    def __call__(self, x: Tensor, chosen: Tensor, chances: Tensor, shared: Tensor | None = None) -> Tensor:
        """The mixture of x, shape (rows, in).

        Args:
            chosen: the experts of each row, shape (rows, best).
            chances: their factors.
            shared: the shared expert's factor for each row, shape (rows, 1).
        """
        x, chosen, chances = x.contiguous(), chosen.contiguous(), chances.contiguous()
        up, best = self._up.first, chosen.shape[1]
        made = torch.zeros(len(x), self._down.first.outputs)
        job = Job(MIXTURE, self._act, True, adds=True, groups=1, experts=self._experts, best=best)
        job.up, job.down = self._up.address(), self._down.address()
        job.chosen, job.chances = chosen.data_ptr(), chances.data_ptr()
        job.shared = None if shared is None else shared.data_ptr()
        space = (len(x) + TILE) * (up.padded + 4 + 12 * best) + _feed_room(up, self._hidden)
        _run(job, x, made, up.inputs * self._hidden * best, space)
        return made


def _run(job: Job, x: Tensor, made: Tensor, weights: int, space: int, norm: Norm | None = None) -> None:
    """Do a job on as many CPUs as the calling thread had better use.

    Args:
        weights: how many of them most rows are multiplied by.
        space: bytes of room for each thread.
    """
    if norm:
        job.norm, job.epsilon = norm[0].data_ptr(), norm[1]
    job.rows, job.x, job.out = len(x), x.data_ptr(), made.data_ptr()
    job.threads = torch.get_num_threads() if (len(x) + LAG) * weights >= SMALL else 1
    job.space = -(-space // ALIGN) * ALIGN + 16 * ALIGN
    room = torch.empty(job.threads * job.space, dtype=torch.uint8)
    job.room = room.data_ptr()
    library().tsfm_run(ctypes.byref(job))


def _feed_room(up: Matrix, hidden: int) -> int:
    return (FEW + TILE) * (2 * int(up.padded) + 5 * hidden + GROUPS * (ALIGN + 8))
