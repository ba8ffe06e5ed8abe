"""A batch job: the series of a file, by a pool of processes, so that it can go on where it ended."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tsfm import __version__
from tsfm.errors import TsfmError, UsageError
from tsfm.fleet import worker
from tsfm.fleet.worker import Job

if TYPE_CHECKING:
    import pyarrow as pa

SERIES = 256  # in one portion: a few seconds of work, which is what an interruption costs
AHEAD = 2  # portions that wait for each process
SHOWN_S = 2.0  # between two lines of progress


class Pool(Protocol):
    """Processes that forecast, each with a model of its own: of this host, or of a fleet (``fleet.actors``)."""

    @property
    def size(self) -> int:
        """Portions that may be in work at once."""

    def submit(self, table: pa.Table, part: Path) -> Future[tuple[int, int]]:
        """Forecast a portion into a file: series with a forecast, and without one."""

    def shutdown(self) -> None:
        """End the processes; what waits is not computed."""


class Processes:
    """The pool of this host."""

    def __init__(self, job: Job, size: int) -> None:
        self.size = size
        self._pool = ProcessPoolExecutor(size, get_context("spawn"), worker.begin, (job, os.getpid()))

    def submit(self, table: pa.Table, part: Path) -> Future[tuple[int, int]]:
        return self._pool.submit(worker.run, table, part)

    def shutdown(self) -> None:
        self._pool.shutdown(cancel_futures=True)


@dataclass
class Progress:
    """What has been done, shown on stderr.

    Attributes:
        rows_in_all: None: the file does not tell.
        reused: series of parts that were there already.
    """

    rows_in_all: int | None
    answered: int = 0
    failed: int = 0
    rows: int = 0
    reused: int = 0

    def __post_init__(self) -> None:
        self.began = self._shown = time.monotonic()

    def show(self, last: bool = False) -> None:
        now = time.monotonic()
        if not last and now - self._shown < SHOWN_S:
            return
        self._shown = now
        share = f", {self.rows / self.rows_in_all:.0%} of the rows" if self.rows_in_all else ""
        rate = (self.answered + self.failed) / max(now - self.began, 1e-9)
        reused = f", {self.reused} portions kept from before" if self.reused else ""
        print(f"{self.answered} series, {self.failed} without a forecast, {rate:.0f}/s{share}{reused}", file=sys.stderr)


def run(source: Path, target: Path, job: Job, begin: Callable[[], Pool]) -> Progress:
    """Forecast every series of a file into another one.

    The parts are kept beside the target until all are there: the same command goes on with those that are missing.

    Args:
        begin: starts the pool, once it is clear that there is something to do.

    Raises:
        UsageError: a file cannot be read, or the parts are another job's.
        RequestError: what holds for all series is wrong, such as the horizon.
        TsfmError: a process has died.
    """
    from tsfm.fleet import tables

    folder = _folder(source, target, job)
    progress = Progress(tables.rows(source))
    pool = begin()
    try:
        parts = list(_forecast(pool, tables.portions(source, SERIES), folder, progress))
    except BrokenProcessPool:
        raise TsfmError(
            "a process has ended, or could not load the model (the reason is above): memory may be short; the same "
            "command goes on, --processes takes fewer"
        ) from None
    finally:
        pool.shutdown()
    if not parts:
        raise UsageError(f"{source}: expected a table with rows, got none")
    tables.join(parts, target)
    shutil.rmtree(folder)
    progress.show(last=True)
    return progress


def _forecast(pool: Pool, portions: Iterator[pa.Table], folder: Path, progress: Progress) -> Iterator[Path]:
    """The parts, in the order of the file; those that are there already are not computed again."""
    running: dict[Future[tuple[int, int]], int] = {}
    for number, table in enumerate(portions):
        part = folder / f"{number:06}.parquet"
        yield part
        if part.exists():
            progress.reused += 1
            progress.rows += table.num_rows
            continue
        while len(running) >= pool.size * AHEAD:
            _take(running, progress)
        running[pool.submit(table, part)] = table.num_rows
        progress.show()
    while running:
        _take(running, progress)


def _take(running: dict[Future[tuple[int, int]], int], progress: Progress) -> None:
    """Wait for a portion, and count it."""
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        answered, failed = future.result()
        progress.answered += answered
        progress.failed += failed
        progress.rows += running.pop(future)
    progress.show()


def _folder(source: Path, target: Path, job: Job) -> Path:
    """The folder of the parts, with a note of the job that they belong to."""
    try:
        facts = source.stat()
    except OSError as error:
        raise UsageError(f"{source}: cannot be read: {error.strerror}") from None
    fingerprint = {"version": __version__, "source": str(source.resolve()), "bytes": facts.st_size, "series": SERIES}
    text = json.dumps(fingerprint | {"changed": facts.st_mtime_ns, "job": asdict(job) | {"threads": 0}}, sort_keys=True)
    folder = target.with_name(f"{target.name}.parts")
    note = folder / "job.json"
    try:
        folder.mkdir(exist_ok=True)
        if not any(folder.glob("*.parquet")):
            note.write_text(text)
        elif note.read_text() != text:
            raise UsageError(
                f"{folder}: belongs to another job, or {source} has changed since: remove it to begin anew"
            )
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}") from None
    return folder
