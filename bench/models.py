"""Each family compared with the package of its maker: same weights, same series, same process, in turns.

``python -m bench.models KEY SIZE SECONDS`` measures one family in this process and prints JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from bench import common

if TYPE_CHECKING:
    from tsfm.series import Model

# key: family, size of its checkpoint, batch sizes, seconds for each of them
CASES: dict[str, tuple[str, str, tuple[int, ...], float]] = {
    "timemoe": ("timemoe", "50M", (1, 8), 20),
    "moirai": ("moirai", "moe-small", (1, 8), 20),
    "timesfm": ("timesfm", "500m", (1,), 10),
    "timesfm25": ("timesfm", "2.5-200m", (1, 8), 10),
    "moment": ("moment", "small", (1,), 8),
    "chronos_base": ("chronos", "bolt-base", (1,), 10),
    "chronos2": ("chronos", "chronos-2", (1, 8), 10),
    "fracast": ("fracast", "", (32,), 15),
    "flowstate": ("flowstate", "r1.1", (1, 8), 10),
    "toto_4m": ("toto", "4m", (1, 8), 5),
    "toto_22m": ("toto", "22m", (1, 8), 5),
}
# Keys whose package is not in the development environment: `make reference FAMILY=` puts it into this folder.
APART = {"timesfm25": common.BUILD / "reference/timesfm"}
LEAST_TURNS, MOST_TURNS = 2, 25
LONG_S = 5.0
LEVELS = (0.1, 0.9)


def run(keys: Sequence[str] = tuple(CASES), size: str | None = None, budget_s: float | None = None) -> dict[str, float]:
    """Measure each family in its own process, so that memory and threads of one do not affect another."""
    found: dict[str, float] = {}
    for key in keys:
        family, usual, _, seconds = CASES[key]
        chosen = usual and (size or usual)  # no size: the package contains the weights
        if chosen:
            common.checkpoint(family, chosen)
        folders = [str(APART[key])] if key in APART else []
        found |= apart("bench.models", key, chosen, str(seconds if budget_s is None else budget_s), folders=folders)
    return found


def apart(module: str, *arguments: str, folders: Sequence[str] = ()) -> dict[str, float]:
    """What a module prints in a process of its own, in the environment of a service.

    Args:
        folders: where it finds packages first.
    """
    from tsfm.system import preload

    environment = common.environment(**preload.TORCH)
    environment["PYTHONPATH"] = os.pathsep.join([*folders, environment["PYTHONPATH"]])
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return found


def print_result(act: Callable[[], dict[str, float]]) -> None:
    """For ``apart``: as the last line, whatever else is printed."""
    with contextlib.redirect_stdout(sys.stderr):
        result = act()
    print(json.dumps(result))


def measure(key: str, size: str, budget_s: float) -> dict[str, float]:
    """Speed and drift of one family."""
    from tsfm import families, official
    from tsfm.series import Runtime

    family, _, batches, _ = CASES[key]
    folder = common.checkpoint(family, size) if size else None
    served, float32 = (Runtime(threads=common.THREADS, dtype=dtype) for dtype in ("auto", "float32"))
    ours = call(families.load(family, folder, served))
    exact = call(families.load(family, folder, float32))
    theirs = call(official.load(family, folder, float32))
    found: dict[str, float] = {}
    for count in batches:
        batch = np.stack([(w - w.mean()) / w.std() for w in common.waves([common.CONTEXT] * count)]).astype(np.float32)
        slow, fast = turns(lambda: theirs(batch), lambda: ours(batch), budget_s)  # noqa: B023  called at once
        found[f"{key}_speedup_b{count}"] = median(slow) / median(fast)
        found[f"{key}_ms_b{count}"] = median(fast) * 1000
        found[f"{key}_official_ms_b{count}"] = median(slow) * 1000
    if family == "moirai":
        # Sampled answers have no exact reference: our float32 with the same random numbers replaces it, and the mean
        # replaces the maximum, because a median of random weights jumps between the atoms of their mixture.
        return found | {f"{key}_quality_drift": float(np.abs(ours(batch) - exact(batch)).mean())}
    reference = theirs(batch)
    found[f"{key}_quality_drift"] = _largest(ours(batch), reference)
    found[f"{key}_quality_drift_float32"] = _largest(exact(batch), reference)
    return found


def _largest(one: np.ndarray, other: np.ndarray) -> float:
    """In deviations of the series, which are 1."""
    from tsfm.numerics import difference

    return difference.summary([difference.between(one, other, 1.0)]).largest


def turns(
    slow: Callable[[], object],
    fast: Callable[[], object],
    budget_s: float,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[list[float], list[float]]:
    """Seconds of both by the clock, in turns; the first run of each is a warm-up and does not count."""
    times: tuple[list[float], list[float]] = ([], [])
    fast()
    first = _seconds(slow, clock)
    if first > LONG_S:  # the warm-up is negligible then
        times[0].append(first)
        times[1].append(_seconds(fast, clock))
    end = time.monotonic() + budget_s
    while len(times[0]) < LEAST_TURNS or (time.monotonic() < end and len(times[0]) < MOST_TURNS):
        times[0].append(_seconds(slow, clock))
        times[1].append(_seconds(fast, clock))
    return times


def _seconds(act: Callable[[], object], clock: Callable[[], float]) -> float:
    began = clock()
    act()
    return clock() - began


def call(model: Model) -> Callable[[np.ndarray], np.ndarray]:
    """A model as a function of a batch, shape (b, CONTEXT), that gives shape (b, HORIZON)."""
    from tsfm.series import Series

    levels = (
        LEVELS if model.capabilities.native_quantiles else ()
    )  # the official code of the others predicts points only

    def impute(batch: np.ndarray) -> np.ndarray:
        """Impute the last HORIZON points, which is as much work as to forecast them."""
        gapped = batch.copy()
        gapped[:, -common.HORIZON :] = np.nan
        return np.stack(model.impute([Series(row) for row in gapped]))[:, -common.HORIZON :]

    def forecast(batch: np.ndarray) -> np.ndarray:
        answers = model.forecast([Series(row) for row in batch], common.HORIZON, levels)
        return np.stack([answer.median for answer in answers])

    return impute if model.capabilities.imputation else forecast


if __name__ == "__main__":
    print_result(lambda: measure(sys.argv[1], sys.argv[2], float(sys.argv[3])))
