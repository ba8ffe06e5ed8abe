"""Large products in int8 against our own bfloat16 and float32: same weights, same series, same process, in turns.

``python -m bench.int8 KEY SIZE SECONDS`` measures one family in this process and prints JSON. It needs AVX512-VNNI.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from bench import common, models

if TYPE_CHECKING:
    from tsfm.series import Model

# key: family, size of its checkpoint, seconds for each batch size
CASES: dict[str, tuple[str, str, float]] = {
    "timemoe": ("timemoe", "50M", 20),
    "chronos_base": ("chronos", "bolt-base", 10),
    "chronos2": ("chronos", "chronos-2", 10),
    "timesfm": ("timesfm", "500m", 15),
    "timesfm25": ("timesfm", "2.5-200m", 10),
    "moment": ("moment", "small", 8),
}
BATCHES, DTYPES = (1, 8), ("float32", "bfloat16", "int8")
LEAST_TURNS, MOST_TURNS = 3, 25
COVERED, LEVELS = 16, (0.1, 0.9)  # series and levels whose intervals are compared


def run(keys: Sequence[str] = tuple(CASES), size: str | None = None, budget_s: float | None = None) -> dict[str, float]:
    """Measure each family in its own process."""
    found: dict[str, float] = {}
    for key in keys:
        family, usual, seconds = CASES[key]
        common.checkpoint(family, size or usual)
        found |= models.apart("bench.int8", key, size or usual, str(seconds if budget_s is None else budget_s))
    return found


def measure(key: str, size: str, budget_s: float) -> dict[str, float]:
    """Speed, drift and coverage of one family."""
    from tsfm import families
    from tsfm.series import Runtime

    family, folder = CASES[key][0], common.checkpoint(CASES[key][0], size)
    loaded = {d: families.load(family, folder, Runtime(threads=common.THREADS, dtype=d)) for d in DTYPES}
    calls = {dtype: models.call(model) for dtype, model in loaded.items()}
    found: dict[str, float] = {}
    for count in BATCHES:
        batch = np.stack([_scaled(w) for w in common.waves([common.CONTEXT] * count)])
        answers = {dtype: call(batch) for dtype, call in calls.items()}  # the first calls do not count
        wall: dict[str, list[float]] = {dtype: [] for dtype in DTYPES}
        cpu: dict[str, list[float]] = {dtype: [] for dtype in DTYPES}
        end = time.monotonic() + budget_s
        while len(wall["int8"]) < LEAST_TURNS or (time.monotonic() < end and len(wall["int8"]) < MOST_TURNS):
            for dtype, call in calls.items():
                began = time.perf_counter(), time.process_time()
                call(batch)
                wall[dtype].append(time.perf_counter() - began[0])
                cpu[dtype].append(time.process_time() - began[1])
        for against, name in (("bfloat16", "speedup"), ("float32", "over_float32")):
            found[f"{key}_int8_{name}_b{count}"] = median(wall[against]) / median(wall["int8"])
            # Of CPU time: on a busy machine it varies less.
            found[f"{key}_int8_cpu_{name}_b{count}"] = median(cpu[against]) / median(cpu["int8"])
        found[f"{key}_int8_ms_b{count}"] = median(wall["int8"]) * 1000
    found[f"{key}_int8_drift"] = float(np.abs(answers["int8"] - answers["float32"]).mean())
    if not loaded["int8"].capabilities.imputation:
        inside = {dtype: _coverage(loaded[dtype]) for dtype in ("bfloat16", "int8")}
        found[f"{key}_int8_coverage_change"] = abs(inside["int8"] - inside["bfloat16"])
    return found


def _scaled(wave: np.ndarray) -> np.ndarray:
    return ((wave - wave[: common.CONTEXT].mean()) / wave[: common.CONTEXT].std()).astype(np.float32)


def _coverage(model: Model) -> float:
    """Share of the points that follow which are inside the interval."""
    from tsfm.series import Series

    rows = np.stack([_scaled(w) for w in common.waves([common.CONTEXT + common.HORIZON] * COVERED, seed=1)])
    past, future = rows[:, : common.CONTEXT], rows[:, common.CONTEXT :]
    made = model.forecast([Series(row) for row in past], common.HORIZON, LEVELS)
    lower, upper = np.stack([answer.quantiles for answer in made], axis=1)
    return float(((lower <= future) & (future <= upper)).mean())


if __name__ == "__main__":
    models.print_result(lambda: measure(sys.argv[1], sys.argv[2], float(sys.argv[3])))
