"""What the adapters share: loading a package, reading levels off its quantiles, batches of equal lengths."""

from __future__ import annotations

import contextlib
import sys
import warnings
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from tsfm.errors import ConfigError
from tsfm.numerics import quantiles
from tsfm.series import FloatArray, Forecast, Runtime, Series

BATCH_POINTS = 16 * 512


@contextlib.contextmanager
def loading_folder(pin: str, folder: Path | None, runtime: Runtime) -> Iterator[Path]:
    """As ``loading``, for a checkpoint that no package brings; gives its folder.

    Raises:
        ConfigError: as ``loading``, or there is no folder.
    """
    if folder is None:
        raise ConfigError(f"{pin}: expected a folder with a checkpoint, got none")
    with loading(pin, folder, runtime):
        yield folder


@contextlib.contextmanager
def loading(pin: str, folder: Path | None, runtime: Runtime) -> Iterator[None]:
    """Import a package and load a checkpoint inside; the adapters compute in float32, as the packages do by default.

    Warnings are silenced and standard output goes to standard error: timesfm prints when it is imported.

    Args:
        pin: the distribution and its version, "timesfm==1.3.0".

    Raises:
        ConfigError: the package or one that it needs is missing, it does not load the folder, or the runtime asks for
            another type than float32.
    """
    if runtime.dtype not in ("auto", "float32"):
        raise ConfigError(f"dtype: expected auto or float32 with {pin}, got {runtime.dtype}")
    torch.set_num_threads(runtime.threads)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    except ModuleNotFoundError as error:
        missing = (error.name or pin).partition(".")[0]
        raise ConfigError(f"the Python package {missing} is not installed; install {pin}") from error
    except ConfigError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{folder}: expected a checkpoint that {pin} loads, found: {reason[:300]}") from error


def path(pin: str) -> str:
    """The text for ``Model.path``, with the version that is installed: "float32, chronos-forecasting 2.3.2"."""
    name = pin.partition("==")[0]
    return f"float32, {name} {version(name)}"


class Quantiled(ABC):
    """A model that answers fixed quantiles; other levels are read off them by ``numerics.quantiles``."""

    min_context = min_room = 1
    batch_points = BATCH_POINTS

    def __init__(self, pin: str, levels: Sequence[float], max_context: int) -> None:
        self.path = path(pin)
        self.levels = [float(level) for level in levels]
        self.max_context = max_context

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        return self.max_context

    @abstractmethod
    def quantiles(self, batch: Sequence[Series], horizon: int) -> FloatArray:
        """The package's own answer, shape (b, len(self.levels), horizon); quantiles may cross."""

    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        return quantiles.forecasts(self.levels, self.quantiles(batch, horizon), levels)


def by_shape(batch: Sequence[Series], answer: Callable[[list[Series]], FloatArray]) -> FloatArray:
    """Call ``answer`` once for all series of the same length and schema: these packages take whole arrays only.

    Args:
        answer: gives shape (len(group), ..., horizon).

    Returns:
        shape (b, ..., horizon), in the order of ``batch``.
    """
    groups: dict[tuple[int, tuple[int, int]], list[int]] = defaultdict(list)
    for index, series in enumerate(batch):
        groups[len(series), series.schema].append(index)
    rows: dict[int, FloatArray] = {}
    for indices in groups.values():
        rows |= dict(zip(indices, answer([batch[index] for index in indices]), strict=True))
    return np.stack([rows[index] for index in range(len(batch))])
