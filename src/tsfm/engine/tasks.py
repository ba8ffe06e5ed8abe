"""The tasks of models: one record for each, the same for HTTP, OpenAPI, engine and TDgpt.

The record itself is light: numpy is imported only with a task's steps, so that the registration with
TDgpt can read it under any Python. To add a task, write a module with the five functions of ``Steps`` and register a
``Task`` here; nothing else needs to know its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tsfm.card import Card
    from tsfm.engine.work import Known, Many, WorkItem
    from tsfm.settings import Settings

Fields = dict[str, object]
"""A JSON object of a request or of an answer, or a JSON schema; numpy arrays may stand for lists."""


class Steps(Protocol):
    """The way of a request through one task, as five functions; a module has them, or an object."""

    def read(self, fields: Fields, limits: Settings) -> Any:
        """The checked request.

        Raises:
            BadRequest, TooLarge: one sentence that names the field, what was expected and what came.
        """
        ...

    def work(self, request: Any, model: Any, family: str) -> WorkItem | Known | Many:
        """What the model has to compute for a checked request, or the output where it is known without the model.

        For a request of several series it is ``Many``: the output is then a list with, for each series, its output
        or the error that refused it.

        Raises:
            BadRequest: the loaded checkpoint cannot use what was sent.
        """
        ...

    def finish(self, request: Any, output: Any) -> Fields:
        """The fields of the answer."""
        ...

    def schema(self, card: Card, limits: Settings) -> tuple[Fields, Fields]:
        """JSON schemas of the request and of the answer."""
        ...

    def example(self, points: int, limits: Settings) -> Fields:
        """The fields of a valid request, for the documentation and for the first call of a loaded model."""
        ...


@dataclass(frozen=True)
class Operation:
    """What a task answers beyond TDgpt's paths, for many series in one request; over HTTP at ``/v1/NAME``.

    Attributes:
        steps: loads its steps, as for a task.
        heavy: one series may mean many calls of the model, so no request counts as small.
        tdgpt_folder: as for a task; None: SQL has no algorithms of this kind.
    """

    steps: Callable[[], Steps]
    heavy: bool = False
    tdgpt_folder: str | None = None


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: what cards and /v1/models call it.
        tdgpt_folder: where TDgpt looks for its algorithms of this kind, below taosanalytics/algo; None: TDgpt's own
            code asks the service, and no adapter is placed.
        steps: imports and gives the task's functions; a function of a module, since a large body is read by another
            process, which is sent it.
        operations: what its families answer beyond TDgpt's paths, by name.
    """

    name: str
    tdgpt_folder: str | None
    steps: Callable[[], Steps]
    operations: Mapping[str, Operation] = field(default_factory=dict)


def _forecast() -> Steps:
    from tsfm.engine import forecast

    return forecast


def _imputation() -> Steps:
    from tsfm.engine import imputation

    return imputation


def _many_forecasts() -> Steps:
    from tsfm.engine.v1 import forecast

    return forecast


def _many_imputations() -> Steps:
    from tsfm.engine.v1 import imputation

    return imputation


def _cross_validation() -> Steps:
    from tsfm.engine.v1 import cross_validation

    return cross_validation


def _anomaly_detection() -> Steps:
    from tsfm.engine.v1 import anomaly_detection

    return anomaly_detection


ANOMALY_DETECTION = Operation(_anomaly_detection, heavy=True, tdgpt_folder="ad")
_registered: dict[str, Task] = {}


def register(task: Task) -> None:
    """Add a task.

    Raises:
        ValueError: another task has this name.
    """
    if task.name in _registered:
        raise ValueError(f"task {task.name}: expected a new name; registered are {', '.join(names())}")
    _registered[task.name] = task


def names() -> list[str]:
    """All tasks, in the order of their registration."""
    return list(_registered)


def find(name: str) -> Task:
    """The task that a card names.

    Raises:
        ValueError: no such task is registered.
    """
    if name not in _registered:
        raise ValueError(f"task: expected one of {', '.join(names())}, got {name!r}")
    return _registered[name]


register(
    Task(
        "forecast",
        tdgpt_folder="fc",
        steps=_forecast,
        operations={
            "forecast": Operation(_many_forecasts),
            "cross_validation": Operation(_cross_validation, heavy=True),
            "anomaly_detection": ANOMALY_DETECTION,
        },
    )
)
register(
    Task(
        "imputation",
        tdgpt_folder=None,
        steps=_imputation,
        operations={"imputation": Operation(_many_imputations), "anomaly_detection": ANOMALY_DETECTION},
    )
)
