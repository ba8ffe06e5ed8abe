"""One process of a batch job: a model of its own, and the way of /v1/forecast through the engine, without HTTP."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tsfm import families, settings
from tsfm.engine import tasks
from tsfm.engine.engine import Engine
from tsfm.http import lifecycle
from tsfm.system import preload
from tsfm.system.subprocesses import ends_with
from tsfm.weights import checkpoints

if TYPE_CHECKING:
    import pyarrow as pa

# A portion may take long, and nobody waits for a single request.
OPTIONS = {"deadline_s": "3599", "stall_s": "3600", "max_series": "10000", "queue": "1"}


@dataclass(frozen=True)
class Job:
    """What is asked for all series.

    Attributes:
        threads: of one process.
        query: the parameters, as in the query of /v1/forecast: all values of each name.
    """

    family: str
    threads: int
    query: dict[str, tuple[str, ...]]


class Worker:
    """The loaded model of one process."""

    def __init__(self, job: Job) -> None:
        card = families.find(job.family)
        chosen = settings.read(card.name, OPTIONS | {"threads": str(job.threads)})
        folder = checkpoints.resolve(card, chosen.model_folder, chosen.checkpoint)
        if card.packaged:
            preload.begin()
        self._query = job.query
        self._engine = Engine(card, chosen, alone=True)
        lifecycle.load(self._engine, card, chosen, folder)
        self._steps = tasks.find(card.task).operations["forecast"].steps()

    def forecast(self, table: pa.Table) -> pa.Table:
        """The long table of predictions for a long table of whole series.

        Raises:
            RequestError: what holds for all series is wrong.
        """
        from tsfm.http.formats import long, predictions

        fields, source = long.fields(table, self._query)
        with self._engine.admit(0) as slot:
            pending = slot.hold(self._engine.answer(fields, slot, self._steps))
        return predictions.table(pending.get(), source)


_worker: Worker | None = None


def begin(job: Job, parent: int) -> None:
    """Load the model; runs first in each process, which ends with its parent."""
    global _worker
    ends_with(parent)()
    _worker = Worker(job)


def run(table: pa.Table, target: Path) -> tuple[int, int]:
    """Forecast a portion into a file; see ``keep``."""
    if _worker is None:
        raise RuntimeError("begin() runs first")
    return keep(_worker.forecast(table), target)


def keep(made: pa.Table, target: Path) -> tuple[int, int]:
    """Write predictions into a Parquet file, which is there completely or not at all.

    Returns:
        Series with a forecast, and series without one.
    """
    import pyarrow.compute as pc
    from pyarrow import parquet

    draft = target.with_suffix(f".{os.getpid()}")
    parquet.write_table(made, draft)
    os.replace(draft, target)
    failed = pc.sum(pc.is_valid(made["error"])).as_py() if "error" in made.column_names else 0
    return len(pc.unique(made["item_id"])) - failed, failed
