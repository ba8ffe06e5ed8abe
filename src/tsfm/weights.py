"""Weights from disk, mapped and checked name by name; nothing that comes with them is ever run.

``read_safetensors`` or ``read_torch`` opens a file, ``State.take`` hands out one tensor after the
other with its shape checked, ``State.finish`` refuses what nobody took. Every error is a
ConfigError whose one sentence names the file, what was expected and what was found.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tsfm.errors import ConfigError
from tsfm.series import Runtime

SMALL = 2**17  # values; fewer are copied when taken


class State:
    """The tensors of one file by name; each can be taken once.

    Tensors are views of the mapped file (private: writing to them never reaches the disk), in the
    file's own type: convert only what the arithmetic needs.
    """

    def __init__(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        self.path = path
        self._left = dict(tensors)

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def shape(self, name: str, axes: int) -> tuple[int, ...]:
        """The sizes of a tensor, where they tell the model's; it stays to be taken.

        Raises:
            ConfigError: missing, or not of ``axes`` axes.
        """
        found = tuple(self._left[name].shape) if name in self._left else None
        if found is None or len(found) != axes:
            what = f"one of shape {found}" if found is not None else f"none of that name{self._example()}"
            raise ConfigError(f"{self.path}: expected a tensor {name} of {axes} axes, found {what}")
        return found

    def take(self, name: str, shape: Sequence[int]) -> Tensor:
        """The tensor ``name``, which must have exactly this shape and hold floats.

        Raises:
            ConfigError: missing, or of another shape or kind.
        """
        expected = f"{self.path}: expected a tensor {name} of shape {tuple(shape)}"
        if name not in self._left:
            raise ConfigError(f"{expected}, found none of that name{self._example()}")
        found = self._left.pop(name)
        if tuple(found.shape) != tuple(shape):
            raise ConfigError(f"{expected}, found it with shape {tuple(found.shape)}")
        if not found.is_floating_point():
            raise ConfigError(f"{expected} that holds floats, found {found.dtype}")
        # One view keeps the whole file mapped: models that reorder their large weights drop it so.
        return found.clone() if found.numel() <= SMALL else found

    def finish(self) -> None:
        """Everything has been taken.

        Raises:
            ConfigError: there is more in the file, so it is another model than we think.
        """
        if self._left:
            first = min(self._left)
            raise ConfigError(
                f"{self.path}: expected no more tensors, found {len(self._left)} unknown ones, first {first}"
            )

    def _example(self) -> str:
        return f" but {min(self._left)}" if self._left else ""


def read_safetensors(path: Path) -> State:
    """A safetensors file, mapped: its pages are read when they are used and can be dropped again.

    Raises:
        ConfigError: absent, unreadable, truncated, or no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return State(path, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except FileNotFoundError:
        raise ConfigError(f"{path}: expected weights as safetensors, found no such file") from None
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{path}: expected whole weights as safetensors, found a file that is not: {reason}"
        ) from None


def read_torch(path: Path) -> State:
    """A flat dict of tensors written by ``torch.save``, mapped where its format allows that.

    Raises:
        ConfigError: absent, truncated, not a dict of tensors, or a pickle that would run code.
    """
    what = f"{path}: expected a state dict saved by torch"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is odd about a pickle ends in the error below
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except FileNotFoundError:
        raise ConfigError(f"{what}, found no such file") from None
    except pickle.UnpicklingError as error:
        raise ConfigError(f"{what}, found {_refused(str(error))}") from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
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


def bf16_is_fast() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware: AVX512-BF16, AMX, or ARM's bf16."""
    return _bf16_unit() is not None


def arithmetic(runtime: Runtime) -> tuple[torch.dtype, str]:
    """The type to compute in, and its description for ``Family.path``.

    "auto" means bfloat16 where the device has it in hardware, else float32.
    """
    if runtime.device != "cpu":
        wanted = {"float32": torch.float32, "bfloat16": torch.bfloat16}.get(runtime.dtype)
        dtype = wanted or (torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32)
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
