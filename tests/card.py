"""A CUDA device simulated on the CPU: ``python tests/card.py`` runs every family on it and prints JSON.

A tensor of the device is a wrapper around a tensor of the CPU. An operation on tensors of both places fails, as it
would with a GPU; what makes the host wait for the device is counted, by the line that asks. The numbers are those of
the CPU. So a tensor that was made in the wrong place, or a wait within a loop, is found without a GPU.
"""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

torch.inference_mode = torch.no_grad  # of tensors in inference mode there are no wrappers; before ours is imported

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

import gpu_check  # noqa: E402  (the lines above come first)

from tsfm import families  # noqa: E402
from tsfm.series import Capabilities, FloatArray, Group, JointFamily, Model, Runtime, Series, no_covariates  # noqa: E402

DEVICE = torch.device("cuda:0")
# Operations that give the host a value: it waits until the device has computed all before.
WAITS = ("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.equal")
BOTH = ("aten._to_copy", "aten.copy_", "aten.index", "aten._index_put")  # that take tensors of both places
# They make tensors in the place of their first argument, which torch takes from the wrapper: the CPU.
INSIDE = (torch.quantile, torch.Tensor.quantile, torch.Tensor.new_tensor)
LEVELS, LENGTHS, HORIZONS = (0.1, 0.9), (512, 301, 512), (48, 200)

waits: Counter[str] = Counter()


class OnCard(torch.Tensor):
    """A tensor of the simulated device."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> OnCard:
        sizes = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, inner.size(), device="cpu", **sizes)
        made.inner = inner
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Callable, types: Sequence, args: tuple = (), kwargs: Mapping | None = None):
        return compute(func, args, dict(kwargs or {}))


def compute(func: Callable, args: tuple, kwargs: dict) -> object:
    """Run an operation of torch on the inner tensors."""
    tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, torch.Tensor)]
    ours = {id(one.inner): one for one in tensors if isinstance(one, OnCard)}
    if not ours:
        return func(*args, **kwargs)
    name = str(func)
    if any(not isinstance(one, OnCard) and one.dim() for one in tensors) and not name.startswith(BOTH):
        raise RuntimeError(f"{name}: tensors of two devices at {line()}")
    masked = name.startswith("aten.index") and any(one.dtype == torch.bool for one in tensors[1:])
    if name.startswith(WAITS) or masked:
        waits[f"{name} {line()}"] += 1
    if name.startswith("aten._conj."):  # a lazy one is lost with the wrapper
        func = torch.ops.aten.conj_physical.default
    made = func(*tree_map(unwrapped, args), **tree_map(unwrapped, kwargs))
    return tree_map(lambda one: ours.get(id(one)) if id(one) in ours else wrapped(one), made)


def wrapped(one: object) -> object:
    return OnCard(one) if isinstance(one, torch.Tensor) and not isinstance(one, OnCard) else one


def unwrapped(one: object) -> object:
    return one.inner if isinstance(one, OnCard) else one


class Below(TorchDispatchMode):
    """Sees the operations without a tensor of the device among their first arguments, too."""

    def __torch_dispatch__(self, func: Callable, types: Sequence, args: tuple = (), kwargs: Mapping | None = None):
        return compute(func, args, dict(kwargs or {}))


class Above(TorchFunctionMode):
    """What names the device, asks for it, or leaves it."""

    def __torch_function__(self, func: Callable, types: Sequence, args: tuple = (), kwargs: Mapping | None = None):
        kwargs = dict(kwargs or {})
        first = args[0] if args else None
        if func == torch.Tensor.device.__get__ and isinstance(first, OnCard):
            return DEVICE
        if func in (torch.Tensor.cpu, torch.Tensor.tolist) and isinstance(first, OnCard):
            waits[f"{func.__name__} {line()}"] += 1
            return func(first.inner.clone())
        if func is torch.Tensor.pin_memory:  # there is no device for whose sake torch would
            if isinstance(first, OnCard):
                raise RuntimeError(f"pin_memory() of a tensor of the device at {line()}")
            return first
        if func is torch.Tensor.numpy and isinstance(first, OnCard):
            raise RuntimeError(f"numpy() of a tensor of the device at {line()}")
        if func in INSIDE:
            args = tree_map(unwrapped, args)
            return wrapped(func(*args, **kwargs)) if isinstance(first, OnCard) else func(*args, **kwargs)
        if not any(map(is_card, [*args, kwargs.get("device")])):
            return func(*args, **kwargs)
        if func is torch.device:
            return DEVICE
        args = tuple(one for one in args if not is_card(one))
        kwargs.pop("device", None)
        made = func(*args, **kwargs) if func is not torch.Tensor.to or args[1:] or kwargs else args[0]
        return made if isinstance(made, OnCard) else OnCard(made.clone())


def is_card(one: object) -> bool:
    return isinstance(one, str | torch.device) and str(one).startswith("cuda")


def line() -> str:
    """The line of ours that runs."""
    frames = reversed(traceback.extract_stack())
    return next(f"{Path(one.filename).name}:{one.lineno}" for one in frames if "/src/tsfm/" in one.filename)


def check(name: str, folder: Path) -> list[dict[str, object]]:
    """For each horizon the distance from the CPU's answers, and the waits."""
    family, small, _ = gpu_check.CASES[name]
    place = gpu_check.checkpoint(folder, family, small)
    exact = families.load(family, place, Runtime("cpu", "float32", 1))
    batch = [Series(wave) for wave in gpu_check.waves(LENGTHS)]
    found = []
    for horizon in HORIZONS:
        rich = [enriched(one, horizon, exact.capabilities) for one in batch]
        expected = [row for some in (rich, batch) for row in gpu_check.answers(exact, some, horizon, LEVELS)]
        with Above(), Below():
            model = families.load(family, place, Runtime("cuda", "float32", 1))
            made = gpu_check.answers(model, rich, horizon, LEVELS)
            waits.clear()
            made += gpu_check.answers(model, batch, horizon, LEVELS)
            alone = dict(waits)
            made += together(model, rich[0], horizon)
        expected += together(exact, rich[0], horizon)
        found.append({"apart": gpu_check.distance(made, expected, mean=False), "waits": alone})
    return found


def together(model: Model, series: Series, horizon: int) -> list[FloatArray]:
    """The rows of a series and of another variate, where the model forecasts variates together."""
    if not model.capabilities.multivariate:
        return []
    (wave,) = gpu_check.waves([len(series)], seed=2)
    (made,) = cast(JointFamily, model).forecast_joint([Group((series, Series(wave)))], horizon, LEVELS)
    return [np.vstack((one.median, one.quantiles)) for one in made]


def enriched(series: Series, horizon: int, able: Capabilities) -> Series:
    """The same with gaps and covariates, where the model takes them."""
    target = series.target.copy()
    target[40:60] = np.nan if able.missing_values else target[40:60]
    (wave,) = gpu_check.waves([len(target) + horizon], seed=1)
    past, future = able.past_covariates, able.future_covariates
    return Series(
        target, *(wave[None, :n] if has else no_covariates() for has, n in ((past, len(target)), (future, None)))
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        print(json.dumps({name: check(name, Path(made)) for name in gpu_check.CASES}))
