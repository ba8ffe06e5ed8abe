"""One served model: its life, and the way of a request to it and back. Knows no HTTP and no family."""

from __future__ import annotations

import gc
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, cast

from tsfm.card import Card
from tsfm.engine import calibration, facts, memory, tasks
from tsfm.engine.admission import Admission, Slot
from tsfm.engine.backlog import LargeRequest
from tsfm.engine.gather import Gathered, Outcome, many
from tsfm.engine.ingress import Ingress
from tsfm.engine.metrics import Metrics
from tsfm.engine.pending import Pending, give_up
from tsfm.engine.scheduler import Scheduler
from tsfm.engine.tasks import Fields, Steps
from tsfm.engine.work import Known, Many, Part, WorkItem, always
from tsfm.errors import ConfigError, ModelFailed, NotReady, OutOfMemory
from tsfm.nets import threads
from tsfm.series import Model, Runtime
from tsfm.settings import Settings

PORTION = 256  # series of one request that are prepared before the model begins with them
BYTES_PER_NUMBER = 20  # in JSON, about
LOADING, READY, STOPPING = "loading", "ready", "stopping"


class Engine:
    """From "loading" over "ready" to "stopping"; safe to call from many threads.

    Args:
        alone: it gets one request at a time, which need not leave room for others.

    Attributes:
        task: what the served family does.
        steps: the task's functions.
        limits: the settings, and what the loaded model asks beyond them.
        ingress: set by the edge: requests that are about to be admitted.
        metrics: numbers for Prometheus.
    """

    def __init__(self, card: Card, settings: Settings, alone: bool = False) -> None:
        self.card, self._alone = card, alone
        self.settings = self.limits = settings
        self.task = tasks.find(card.task)
        self.steps = self.task.steps()
        self.ingress = Ingress()
        self.metrics = Metrics(lambda: self.waiting, lambda: self.ready)
        self._admission = Admission(settings, self._check_ready, lambda: self.ingress.unread())
        self._model: Model | None = None
        self._folder: Path | None = None
        self._scheduler: Scheduler | None = None
        self._calibrated = False
        self._stopping = False
        self._closers: list[Callable[[], object]] = []

    # Life

    def start(self, model: Model, folder: Path | None, runtime: Runtime) -> None:
        """Take a loaded model into service and have it answer once; then the engine is ready.

        Args:
            folder: of the model's weights; None: they are in the family's package.

        Raises:
            ConfigError: the model gives no numbers.
        """
        settings = self.settings
        self._model, self._folder = model, folder
        self.limits = Settings(**vars(settings) | {"min_rows": max(settings.min_rows, model.min_context)})
        most_threads = calibration.threads_of(runtime.device, runtime.threads)
        self._scheduler = Scheduler(
            calibration.batch_points(runtime.device, model.batch_points),
            self.metrics.batch_size.observe,
            calibration.workers(runtime.device, runtime.threads),
            most_threads,
            threads.use,
            self.ingress,
            memory.HeapTrimmer(),
            self._alone,
        )
        trial = calibration.trial(self.steps, model, self.limits, self.card.name, most_threads)
        try:
            self._scheduler.threads_alone = cast(int, self._scheduler.submit(trial).result())
        except ModelFailed as error:
            weights = facts.weights(self.card, folder)
            raise ConfigError(f"{weights}: expected weights that answer one request, but {error}") from error
        gc.freeze()  # what is here now stays: looking through all of torch for garbage stopped everything for 85 ms
        # The state changes later, and the label of a gauge does not.
        self.metrics.info.info({k: v for k, v in self.describe().items() if isinstance(v, str) and k != "state"})
        self._calibrated = True

    def stop_accepting(self) -> None:
        """From now on new requests get 503; those inside are answered. Takes no lock: signal handlers may call it."""
        self._stopping = True

    def wait_until_empty(self, timeout_s: float) -> bool:
        """Wait for the requests inside; True when none is left."""
        return self._admission.wait_until_empty(timeout_s)

    def on_close(self, closer: Callable[[], object]) -> None:
        """Call it when the engine closes: the edge's helpers end with it."""
        self._closers.append(closer)

    def close(self, timeout_s: float | None = None) -> None:
        """End the inference threads, if they ever began; one that hangs is left to the process's end."""
        for closer in self._closers:
            closer()
        if self._scheduler:
            self._scheduler.close(timeout_s)
        self._admission.close()

    # State

    @property
    def state(self) -> str:
        if self._stopping:
            return STOPPING
        return READY if self._calibrated else LOADING

    @property
    def ready(self) -> bool:
        """A request that comes now can be answered; never waits."""
        return self.state == READY and self._scheduler is not None and not self._scheduler.stuck(self.settings.stall_s)

    @property
    def why_not_ready(self) -> str:
        """A sentence for /readyz, where "ready" would be wrong."""
        if self.state != READY:
            return f"{self.card.name} is {self.state}"
        return (
            f"{self.card.name} is not responding: a batch has run for more than stall_s = {self.settings.stall_s:g} s; "
            "systemd will restart it"
        )

    def healthy(self, sooner_s: float = 0.0) -> bool:
        """The model is loading, or its threads take up work within ``stall_s`` less ``sooner_s``, or ``deadline_s``."""
        limit_s = max(self.settings.deadline_s, self.settings.stall_s - sooner_s)
        return self._scheduler is None or self._scheduler.healthy(limit_s)

    @property
    def waiting(self) -> int:
        """Requests that wait for the model."""
        return self._scheduler.length if self._scheduler else 0

    def describe(self) -> dict[str, object]:
        """The model's entry in GET /v1/models."""
        return facts.describe(self.card, self.state, self.limits, self._model, self._folder)

    def summary(self) -> str:
        """One line for STATUS= and the journal."""
        return facts.summary(self.card, self._loaded(), self._folder)

    def count(self, method: str, status: int) -> None:
        """Count the answer to a request for inference."""
        if method == "POST":
            self.metrics.requests.labels(str(status)).inc()

    # Requests

    def admit(self, body_bytes: int, present: Callable[[], bool] = always) -> Slot:
        """Let one request in, or refuse it at once.

        Args:
            present: False once the client has closed its connection.

        Raises:
            QueueFull, NotReady
        """
        return self._admission.enter(body_bytes, present)

    def answer(self, fields: Fields, slot: Slot, steps: Steps | None = None) -> Pending[Fields]:
        """The fields of the answer to the fields of a request: the whole way through the engine.

        Args:
            steps: of one of the task's operations; None: of the task itself.

        Raises:
            BadRequest, TooLarge: one sentence that names the field, what was expected and what came.
            OutOfMemory, NotReady
        """
        steps = steps or self.steps
        return self.answer_checked(steps.read(fields, self.limits), slot, steps)

    def answer_checked(self, request: Any, slot: Slot, steps: Steps | None = None) -> Pending[Fields]:
        """The same for a request that ``steps.read`` has checked already."""
        steps = steps or self.steps
        return self.submit(request, slot, steps).then(lambda output: steps.finish(request, output))

    def submit(self, request: Any, slot: Slot, steps: Steps | None = None) -> Pending[Any]:
        """The task's output for one checked request.

        Raises:
            BadRequest: the loaded checkpoint cannot use what was sent.
            OutOfMemory: it would not fit, by estimate.
            NotReady
        """
        model = self._loaded()
        work = (steps or self.steps).work(request, model, self.card.name)
        if isinstance(work, Known):
            return Pending.known(work.output)
        if self._scheduler is None:
            raise self._not_ready()
        if isinstance(work, Many):
            return self._submit_many(work, slot, model, self._scheduler)
        _check_fits(work, model)
        work.present = slot.present
        return Pending(slot.watch(self._scheduler.submit(work)), work.restore)

    def _submit_many(self, work: Many, slot: Slot, model: Model, scheduler: Scheduler) -> Pending[list[Outcome]]:
        slot.expect(work.numbers * BYTES_PER_NUMBER)
        gathered, request = Gathered(work.count, slot.present), LargeRequest()
        slot.watch(gathered.future)
        try:
            while parts := [one for part in islice(work.parts, PORTION) for one in _fitting(part, model)]:
                scheduler.submit_many(gathered.add(parts), request if work.count > PORTION else None)
        except Exception as error:
            give_up(gathered.future, error)  # what is queued already is not computed
            raise
        return Pending(gathered.future, lambda outcomes: outcomes)

    def _check_ready(self) -> None:
        if self.state != READY:
            raise self._not_ready()

    def _loaded(self) -> Model:
        if self._model is None:
            raise self._not_ready()
        return self._model

    def _not_ready(self) -> NotReady:
        return NotReady(f"{self.card.name} is {self.state}")


def _check_fits(item: WorkItem, model: Model) -> None:
    if item.series.points > model.batch_points:  # a full batch fits: the trial and others like it have run
        memory.check_fits(item.series)


def _fitting(part: Part, model: Model) -> list[Part]:
    try:
        if isinstance(part, WorkItem):
            _check_fits(part, model)
    except OutOfMemory as error:
        return [error] * many(part)
    return [part]
