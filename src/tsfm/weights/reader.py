"""Read weights from disk, memory-mapped and checked tensor by tensor; code in a checkpoint is never run.

``read_weights`` or ``read_torch`` opens a folder or a file, ``State.take`` returns one tensor with its shape checked,
``State.finish`` refuses tensors that were not taken. Every error is a ConfigError, whose one sentence names the file,
what was expected and what was found.
"""

from __future__ import annotations

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tsfm.errors import ConfigError, OtherModel
from tsfm.series import Runtime
from tsfm.weights import reading, shards

SMALL = 2**17  # values; smaller tensors are copied when taken


class State:
    """The tensors of one checkpoint by name; each can be taken once.

    Tensors are views of the mapped file (private: writing to them never reaches the disk), in the
    file's own type: convert only what the arithmetic needs.
    """

    def __init__(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        self.path = path
        self._left = dict(tensors)

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def shape(self, name: str, axes: int) -> tuple[int, ...]:
        """The shape of a tensor, to derive the model's sizes; the tensor is not taken.

        Raises:
            OtherModel: missing, or not of ``axes`` axes.
        """
        found = tuple(self._left[name].shape) if name in self._left else None
        if found is None or len(found) != axes:
            what = f"one of shape {found}" if found is not None else f"none of that name{self._example()}"
            raise OtherModel(f"{self.path}: expected a tensor {name} of {axes} axes, found {what}")
        return found

    def take(self, name: str, shape: Sequence[int]) -> Tensor:
        """Take the tensor ``name``, which must have exactly this shape and a floating-point type.

        Raises:
            OtherModel: missing, or of another shape or kind.
        """
        expected = f"{self.path}: expected a tensor {name} of shape {tuple(shape)}"
        if name not in self._left:
            raise OtherModel(f"{expected}, found none of that name{self._example()}")
        found = self._left.pop(name)
        if tuple(found.shape) != tuple(shape):
            raise OtherModel(f"{expected}, found it with shape {tuple(found.shape)}")
        if not found.is_floating_point():
            raise OtherModel(f"{expected} that holds floats, found {found.dtype}")
        # One view keeps the whole file mapped; with small tensors copied, models that reorder large weights unmap it.
        return found.clone() if found.numel() <= SMALL else found

    def take_copy(self, name: str, original: str, shape: Sequence[int]) -> None:
        """Take a tensor that upstream ties to ``original``, which has not been taken yet.

        Raises:
            OtherModel: the two differ, so it is unknown which one is right.
        """
        copy = self.take(name, shape)
        if original in self._left and not torch.equal(copy, self._left[original]):
            raise OtherModel(f"{self.path}: expected {name} to be a copy of {original}, found other values")

    def finish(self) -> None:
        """Check that every tensor has been taken.

        Raises:
            OtherModel: tensors are left, so the file is of another model.
        """
        if self._left:
            first = min(self._left)
            raise OtherModel(
                f"{self.path}: expected no more tensors, found {len(self._left)} unknown ones, first {first}"
            )

    def _example(self) -> str:
        return f" but {min(self._left)}" if self._left else ""


def read_weights(folder: Path) -> State:
    """The folder's safetensors: one file, or the shards of an index. Mapped, so pages are read on use.

    Raises:
        ConfigError: absent, unreadable, truncated, not safetensors, or different from the index.
        TsfmError: the disk failed.
    """
    index = folder / shards.INDEX
    if os.path.lexists(folder / shards.SINGLE) or not os.path.lexists(index):
        return State(folder / shards.SINGLE, _tensors(folder / shards.SINGLE))
    tensors: dict[str, Tensor] = {}
    for file, names in shards.parse(reading.content(index, "an index of weights"), str(index)).items():
        found = _tensors(folder / file)
        if differing := sorted(names ^ set(found)):
            name = differing[0]
            what = f"{name}, which the index does not place there" if name in found else f"no {name}"
            raise ConfigError(f"{folder / file}: expected the tensors that {index.name} names, found {what}")
        tensors |= found
    return State(index, tensors)


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    what = "whole weights as safetensors"
    # The library reports every file that it cannot open as missing, whatever the reason.
    if error := reading.access_error(path):
        raise reading.refused(path, error, what)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        if cause := reading.system_error(error):
            raise reading.refused(path, cause, what) from None
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: expected {what}, found a file that is not: {reason}") from None


def read_torch(path: Path) -> State:
    """A flat dict of tensors written by ``torch.save``, mapped if its format allows it.

    Raises:
        ConfigError: absent, truncated, not a dict of tensors, or a pickle that would run code.
    """
    what = f"{path}: expected a state dict saved by torch"
    if denied := reading.access_error(path):
        raise reading.refused(path, denied, "a state dict saved by torch")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # problems of the pickle are reported by the errors below
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise ConfigError(f"{what}, found {_refused(str(error))}") from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        if cause := reading.system_error(error):
            raise reading.refused(path, cause, "a state dict saved by torch") from None
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{what}, found a truncated or foreign file: {reason[:160]}") from None
    if not isinstance(loaded, dict):
        raise ConfigError(f"{what}, found {type(loaded).__name__}")
    for name, value in loaded.items():
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            raise ConfigError(f"{what}: a tensor for each name, found {name!r} with a {type(value).__name__}")
    return State(path, loaded)


def _refused(message: str) -> str:
    named = re.search(r"GLOBAL ([\w.]+)", message)
    what = f"a pickle that would call {named.group(1)}" if named else "a pickle that is not plain tensors"
    return f"{what}; it was not run"


def arithmetic(runtime: Runtime) -> tuple[torch.dtype, str]:
    """The type to compute in, and its description for ``Family.path``.

    "auto" means bfloat16 where the device has it in hardware, else float32.
    """
    if runtime.device != "cpu":
        requested = {"float32": torch.float32, "bfloat16": torch.bfloat16}.get(runtime.dtype)
        dtype = requested or (torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32)
        return dtype, f"{str(dtype).removeprefix('torch.')} on {runtime.device}"
    unit = _bf16_unit()
    if runtime.dtype == "float32" or (runtime.dtype == "auto" and unit is None):
        return torch.float32, f"float32 with {torch.backends.cpu.get_cpu_capability()}"
    return torch.bfloat16, f"bfloat16 with {unit or 'no hardware for it'}"


def _bf16_unit() -> str | None:
    has = torch.cpu.get_capabilities()
    for flag, unit in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX512-BF16"), ("bf16", "ARM bf16")):
        if has.get(flag):
            return unit
    return None
