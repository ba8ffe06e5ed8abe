"""The naive forecast, which repeats the last value: no weights, no torch; the server's tests use it.

A folder with ``naive.json`` makes it fail on purpose, for tests of the service around a model.
``{"delay_s": 0.1, "hang_above": 5, "fail_above": 2, "exit_above": 7, "kill_above": 9}``: it waits before each batch,
and a standardised last value above the number makes it hang, raise, end its thread or crash, as a broken model would.
``{"exit_at_load": "no licence"}`` ends the thread that loads it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np

from tsfm.series import Capabilities, Forecast, Runtime, Series

CARD = {
    "summary": "Repeats the last value; for tests only",
    "licence": "Apache-2.0",
    "commercial": "yes",
    "year": 2021,
    "paper": "Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., section 5.2",
    "keys": ["naive"],
    "task": "forecast",
    "paths": ["/ds_predict"],
    "port": 6099,
    "memory_mib": 60,
    "packaged": False,
}


def load(folder: Path | None, runtime: Runtime) -> Naive:
    file = folder / "naive.json" if folder else None
    trouble = json.loads(file.read_text()) if file and file.exists() else {}
    if "exit_at_load" in trouble:
        sys.exit(trouble["exit_at_load"])
    return Naive(trouble)


class Naive:
    """The last value with the textbook interval: the spread of one-step residuals times sqrt(h)."""

    max_context = 2048
    min_context = min_room = 1
    batch_points = 16384
    capabilities = Capabilities(native_quantiles=True)
    path = "float64 numpy"

    def __init__(self, trouble: dict[str, float]) -> None:
        self._trouble = trouble

    def context_for(self, horizon: int, schema: tuple[int, int]) -> int:
        return self.max_context

    def forecast(self, batch: Sequence[Series], horizon: int, levels: Sequence[float]) -> list[Forecast]:
        self._misbehave(max(float(series.target[-1]) for series in batch))
        return [self._one(np.asarray(series.target, np.float64), horizon, levels) for series in batch]

    def _one(self, target: np.ndarray, horizon: int, levels: Sequence[float]) -> Forecast:
        spread = float(np.sqrt(np.mean(np.diff(target) ** 2))) if len(target) > 1 else 0.0
        median = np.full(horizon, target[-1])
        reach = spread * np.sqrt(np.arange(1, horizon + 1))
        z = [NormalDist().inv_cdf(level) for level in levels]
        return Forecast(median, median + np.outer(z, reach))

    def _misbehave(self, last: float) -> None:
        idle = threading.Event()
        idle.wait(self._trouble.get("delay_s", 0))
        if last > self._trouble.get("hang_above", np.inf):
            idle.wait()
        if last > self._trouble.get("exit_above", np.inf):
            sys.exit("the naive model was told to end its thread")
        if last > self._trouble.get("kill_above", np.inf):
            os.kill(os.getpid(), signal.SIGKILL)
        if last > self._trouble.get("fail_above", np.inf):
            raise RuntimeError("the naive model was told to fail")
