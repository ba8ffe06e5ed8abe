"""`tsfm batch` from Parquet to Parquet, compared with the bare model in one process with the same threads."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from bench import common
from bench.host import Host

SERIES, BATCH, ROUNDS = 20_000, 32, 3
PORTION = 256  # series that a process takes at once
STEP_US = 3_600_000_000


def run(rounds: int = ROUNDS, series: int = SERIES, size: str = "bolt-tiny") -> dict[str, float]:
    """Measure both in turns, so that other load on the machine affects both alike."""
    folder = common.checkpoint("chronos", size)
    host = Host("chronos", folder)
    with tempfile.TemporaryDirectory(dir=common.BUILD) as name:
        job = Job(Path(name), folder)
        try:
            measured = [_round(host, job, series) for _ in range(rounds)]
        finally:
            host.stop()
    return {key: median(one[key] for one in measured) for key in measured[0]}


class Job:
    """The command, with its files in a folder."""

    def __init__(self, folder: Path, checkpoint: Path) -> None:
        self._folder = folder
        self._ini = folder / "tsfm.ini"
        self._ini.write_text(f"[chronos]\nmodel_folder = {checkpoint}\nthreads = {common.THREADS}\n")

    def seconds(self, series: int) -> float:
        """How long a file of so many series takes from the command to its end.

        Raises:
            RuntimeError: not every series has a forecast.
        """
        source, target = self._folder / f"{series}.parquet", self._folder / "out.parquet"
        if not source.exists():
            parquet.write_table(table(series), source)
        options = ["--family", "chronos", "--horizon", common.HORIZON, "--processes", common.THREADS]
        command = [sys.executable, "-m", "tsfm", "batch", source, target, *options]
        began = time.perf_counter()
        done = subprocess.run(
            list(map(str, command)), env=common.environment(TSFM_INI=str(self._ini)), capture_output=True, text=True
        )
        seconds = time.perf_counter() - began
        if not re.search(rf"^{series} series, 0 without a forecast", done.stderr, re.MULTILINE):
            raise RuntimeError(f"{done.returncode}: {done.stderr[-500:]}")
        if parquet.read_metadata(target).num_rows != series * common.HORIZON:
            raise RuntimeError(f"{target}: expected {common.HORIZON} rows for each of {series} series")
        return seconds


def table(series: int) -> pa.Table:
    """A long table of so many hourly waves."""
    points = common.CONTEXT
    hours = np.arange(points) * STEP_US + np.datetime64("2024-01-01", "us").astype(np.int64)
    names = pa.array([f"meter-{at}" for at in range(series)])
    return pa.table(
        {
            "item_id": names.take(pa.array(np.repeat(np.arange(series), points))),
            "timestamp": pa.array(np.tile(hours, series), pa.timestamp("us")),
            "target": np.concatenate(common.waves([points] * series)),
        }
    )


def _round(host: Host, job: Job, series: int) -> dict[str, float]:
    """The bare model before and after the job; a job of one portion for each process takes what any job begins with."""
    lengths, few = [common.CONTEXT] * series, common.THREADS * PORTION
    (before,) = host.bare(lengths, BATCH)
    start_s = job.seconds(few)
    whole_s = job.seconds(few + series)
    (after,) = host.bare(lengths, BATCH)
    rate, bare = series / (whole_s - start_s), 2 * series / (before + after)
    return {
        "batch_job_efficiency": rate / bare,
        "batch_series_per_s": rate,
        "batch_series_per_s_bare": bare,
        "batch_series_per_s_with_start": (few + series) / whole_s,
        "batch_start_s": start_s,
    }
