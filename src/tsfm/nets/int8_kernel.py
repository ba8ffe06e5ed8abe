"""The kernel int8.c, which packaging/int8.sh compiles, and weights in its order."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.errors import ConfigError

FILE = "tsfm_int8.so"  # in the folder that has torch
UNITS = ("avx512_f", "avx512_bw", "avx512_dq", "avx512_vl", "avx512_vnni")
COLUMNS, TILE, FEW, MOST, ALIGN = 64, 6, 96, 480, 64  # as in int8.c
PRODUCT, FEED, MIXTURE = range(3)
THREADS = ("GOMP_parallel", "GOMP_barrier", "omp_get_thread_num", "omp_get_num_threads")


@cache
def library() -> ctypes.CDLL:
    """The kernel's functions.

    Raises:
        ConfigError: this CPU cannot run them, or they were not compiled.
    """
    has, used = torch.cpu.get_capabilities(), torch.backends.cpu.get_cpu_capability()
    if not (all(has.get(unit) for unit in UNITS) and used.startswith("AVX512")):
        raise ConfigError(
            "dtype: int8 needs a CPU with AVX512-VNNI, and this one has none "
            f"(torch uses {used}); expected auto, float32 or bfloat16"
        )
    for folder in sys.path:
        if os.path.exists(path := Path(folder or ".", FILE)):
            break
    else:
        raise ConfigError(
            f"dtype: int8 needs {FILE} beside torch, found none; install taos-tsfm-runtime for x86_64 (in development: "
            "install gcc and run make)"
        )
    library = ctypes.CDLL(str(path))
    library.tsfm_run.argtypes, library.tsfm_run.restype = [ctypes.c_void_p], None
    library.tsfm_threads(*_threads())
    return library


def _threads() -> list[ctypes.c_void_p]:
    """The functions of the OpenMP whose threads torch uses: a second pool would have to be woken for each product."""
    of_torch = ctypes.CDLL(torch._C.__file__)  # its symbols are also those of what it depends on
    try:
        return [ctypes.cast(getattr(of_torch, name), ctypes.c_void_p) for name in THREADS]
    except AttributeError as error:
        raise ConfigError(
            f"dtype: int8 needs a torch that uses GNU's OpenMP, as its packages for Linux do ({error}); "
            "expected auto, float32 or bfloat16"
        ) from None


class Job(ctypes.Structure):
    """``job`` of int8.c: what a layer has to do."""

    _fields_ = [
        *(
            (name, ctypes.c_int64)
            for name in (
                "layer",
                "act",
                "gated",
                "bfloats",
                "adds",
                "rows",
                "groups",
                "experts",
                "best",
                "threads",
                "space",
            )
        ),
        *(
            (name, ctypes.c_void_p)
            for name in ("x", "norm", "up", "down", "chosen", "chances", "shared", "out", "room")
        ),
        ("epsilon", ctypes.c_float),
    ]


class Matrix(ctypes.Structure):
    """``matrix`` of int8.c: a weight and where its parts are."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("inputs", "padded", "outputs", "panels")),
        *((name, ctypes.c_void_p) for name in ("weights", "scales", "start", "bias")),
    ]


class Weights:
    """Weights, each of shape (out, in), in the order of the kernel; ``address`` is that of their descriptions.

    Args:
        gated: of each weight the first half of the outputs gates the second half.
    """

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor | None], gated: bool = False) -> None:
        packed = [_packed(weight, bias, gated) for weight, bias in zip(weights, biases, strict=True)]
        self._tensors = [tensors for tensors, _ in packed]  # the kernel reads them
        self._described = (Matrix * len(packed))(*(described for _, described in packed))
        self.first: Matrix = self._described[0]

    def address(self, index: int = 0) -> int:
        return ctypes.addressof(self._described[index])


def _packed(weight: Tensor, bias: Tensor | None, gated: bool) -> tuple[list[Tensor], Matrix]:
    weight = weight.float()
    (outputs, inputs), half = weight.shape, COLUMNS // 2
    bias = torch.zeros(outputs) if bias is None else bias.float()
    if gated:  # a panel has columns of the gate, and then those that they gate
        both = F.pad(torch.cat((weight, bias[:, None]), 1).view(2, -1, inputs + 1), (0, 0, 0, -(outputs // 2) % half))
        both = both.view(2, -1, half, inputs + 1).transpose(0, 1).reshape(-1, inputs + 1)
        weight, bias = both[:, :-1], both[:, -1]
    rows, panels, padded = len(weight), -(-len(weight) // COLUMNS), -(-inputs // ALIGN) * ALIGN
    scales, shifts = torch.zeros(2, panels * COLUMNS)
    scales[:rows], shifts[:rows] = weight.abs().amax(1) / 127, bias
    whole = torch.zeros(panels * COLUMNS, padded, dtype=torch.int8)
    whole[:rows, :inputs] = (weight / scales[:rows, None].clamp_min(torch.finfo().tiny)).round()
    start = -128 * whole.sum(1, dtype=torch.int32)
    ordered = whole.view(panels, COLUMNS, -1, 4).transpose(1, 2).contiguous()
    tensors = [ordered, scales, start, shifts]
    return tensors, Matrix(inputs, padded, outputs, panels, *(tensor.data_ptr() for tensor in tensors))
