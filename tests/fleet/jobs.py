"""Batch jobs as the command line runs them, and tables for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from conftest import HERE


def tsfm(*words: object, wait: bool = True, python: Path = Path(sys.executable), env: dict[str, str] | None = None):
    environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src")} | (env or {})
    command = [str(python), "-m", "tsfm", *map(str, words)]
    if not wait:
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def long_table(series: int, points: int = 48) -> pd.DataFrame:
    stamps = pd.date_range("2024-01-01", periods=points, freq="h")
    steps = np.arange(points)
    rows = [10 + np.sin((steps + at) / 4) * (1 + at % 7) + np.sin(steps * steps + at) for at in range(series)]
    return pd.DataFrame(
        {
            "item_id": np.repeat([f"meter-{at}" for at in range(series)], points),
            "timestamp": np.tile(stamps, series),
            "target": np.concatenate(rows),
        }
    )
