"""One series or group that waits for the model, and how a batch of them is run. Knows neither HTTP nor any model."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from traceback import clear_frames
from typing import Any, Protocol

from tsfm.engine.pending import finish, give_up
from tsfm.errors import ModelFailed, OutOfMemory, RequestError, TsfmError
from tsfm.series import FloatArray, Group, Series


class Call(Protocol):
    """One way to call the model; items with equal calls may share a batch, so a call must be hashable."""

    def run(self, batch: Sequence[Any]) -> Sequence[object]:
        """One output for each series, or each group, in their order."""
        ...


def always() -> bool:
    """The client is connected, as far as anyone knows."""
    return True


def unchanged(output: Any) -> Any:
    """The model's output as it is."""
    return output


@dataclass(frozen=True)
class Known:
    """An output that needs no call of the model."""

    output: object


@dataclass(eq=False)
class WorkItem:
    """One series, or one group, that waits for the model.

    Attributes:
        series: centred and scaled, as the model takes it. A group is never cut.
        restore: from the model's output for the series to the output in the unit of the request.
        present: False once the client has closed its connection.
        future: of the model's output.
        outcomes: ``restore`` gives a list of so many outcomes, those of a group; None: it gives one.
    """

    series: Series | Group
    call: Call
    restore: Callable[[Any], object] = unchanged
    present: Callable[[], bool] = always
    future: Future[object] = field(default_factory=Future)
    outcomes: int | None = None

    @property
    def group(self) -> Hashable:
        """Items of one group may share a batch."""
        return self.call, self.series.schema


Part = WorkItem | Known | RequestError


@dataclass(frozen=True)
class Many:
    """The work of a request of several series.

    Attributes:
        parts: for each series in order what the model has to compute, an output that is known without it, or the
            error that refuses this series alone; made while the model computes the first ones. The item of a group
            stands for the outcomes that follow one another.
        count: number of outcomes.
        numbers: in the answer, about.
    """

    parts: Iterator[Part]
    count: int
    numbers: int = 0


def run_batch(batch: list[WorkItem]) -> None:
    """Give each item its output or its error: one item's failure never reaches another."""
    if error := _failure(batch):
        # The log says where it came from; what the model's frames hold is freed, since the halves need the memory.
        clear_frames(error.__traceback__)
        _bisect_on_failure(batch, error)


def _failure(batch: list[WorkItem]) -> Exception | None:
    """Run a batch and give each item its output, or say why that cannot be done."""
    try:
        outputs = batch[0].call.run([item.series for item in batch])
        if len(outputs) != len(batch):
            raise ModelFailed(f"the model gave {len(outputs)} answers for {len(batch)} series")
    except Exception as error:  # noqa: BLE001  whatever a model package raises is the model's failure
        return error
    for item, output in zip(batch, outputs, strict=True):
        finish(item.future, output)
    return None


def check_shape(values: FloatArray, *shape: int) -> None:
    """Refuse a model's output of another shape.

    Raises:
        ModelFailed
    """
    if values.shape != shape:
        raise ModelFailed(f"the model gave an answer of shape {values.shape} where {shape} was asked for")


def _bisect_on_failure(batch: list[WorkItem], error: Exception) -> None:
    """Run the halves: a bad series must fail alone, and half a batch needs half the memory."""
    if len(batch) > 1:
        middle = len(batch) // 2
        run_batch(batch[:middle])
        run_batch(batch[middle:])
        return
    give_up(batch[0].future, error if isinstance(error, TsfmError) else _as_ours(error, batch[0].series))


def _as_ours(error: Exception, series: Series | Group) -> TsfmError:
    # torch has no exception class for a failed allocation on CPU; only the text says so.
    if isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error):
        ours: TsfmError = OutOfMemory(f"the model ran out of memory on {series.described}")
    else:
        ours = ModelFailed(f"the model failed: {type(error).__name__}: {error}")
    ours.__cause__ = error
    return ours
