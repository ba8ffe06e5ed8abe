"""One series that waits for the model, and how a batch of them is run. Knows neither HTTP nor any model."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from tsfm.engine.deadlines import finish, give_up
from tsfm.errors import ModelFailed, OutOfMemory, TsfmError
from tsfm.series import Series


class Ask(Protocol):
    """What is asked of the model; equal asks may share a batch, so it must be hashable."""

    def run(self, batch: Sequence[Series]) -> Sequence[object]:
        """One answer for each series, in their order."""
        ...


def always() -> bool:
    """The client is still there, as far as anyone knows."""
    return True


@dataclass(eq=False)
class Job:
    """One series waiting for its answer."""

    series: Series
    ask: Ask
    wanted: Callable[[], bool] = always  # False once the client has left
    future: Future[object] = field(default_factory=Future)

    @property
    def group(self) -> Hashable:
        return self.ask, self.series.schema


def run(batch: list[Job]) -> None:
    """Answer each job, or fail it: what one does never fails another."""
    try:
        answers = batch[0].ask.run([job.series for job in batch])
        if len(answers) != len(batch):
            raise ModelFailed(f"the model gave {len(answers)} answers for {len(batch)} series")
    except Exception as error:  # noqa: BLE001  whatever a model package raises is the model's failure
        _fail(batch, error)
    else:
        for job, answer in zip(batch, answers, strict=True):
            finish(job.future, answer)


def _fail(batch: list[Job], error: Exception) -> None:
    """One bad series must not fail its neighbours, and half a batch needs half the memory: try the halves."""
    if len(batch) > 1:
        middle = len(batch) // 2
        run(batch[:middle])
        run(batch[middle:])
        return
    give_up(batch[0].future, error if isinstance(error, TsfmError) else _as_ours(error, batch[0].series))


def _as_ours(error: Exception, series: Series) -> TsfmError:
    past, future = series.schema
    # torch tells a failed allocation on CPU only by its text.
    if isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error):
        size = f"{len(series)} points and {past + future} covariates"
        ours: TsfmError = OutOfMemory(f"the model ran out of memory on one series of {size}")
    else:
        ours = ModelFailed(f"the model failed: {type(error).__name__}: {error}")
    ours.__cause__ = error
    return ours
