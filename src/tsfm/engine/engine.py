"""One served model: its state, admission to it, and the way of a request through it. Knows no HTTP."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from tsfm import __version__, families
from tsfm.card import Card
from tsfm.engine import memory, tasks, threads
from tsfm.engine.deadlines import Deadlines, finish
from tsfm.engine.ingress import Arrivals
from tsfm.engine.metrics import Metrics
from tsfm.engine.pending import Answer
from tsfm.engine.scheduler import Batcher
from tsfm.engine.work import Job, always
from tsfm.errors import ConfigError, ModelFailed, NotReady, QueueFull
from tsfm.http import bodies, requests
from tsfm.numerics import scaling
from tsfm.series import Family, FloatArray, Forecast, Imputer, Model, Runtime, Series
from tsfm.settings import Settings

log = logging.getLogger(__name__)
LOADING, READY, STOPPING = "loading", "ready", "stopping"
T = TypeVar("T")


class Service:
    """From "nothing loaded" over "ready" to "stopping"; safe to call from many threads."""

    def __init__(self, card: Card, settings: Settings) -> None:
        self.card = card
        self.settings = settings
        self._loaded_and_tried = False
        self._stopping = False
        self.arrivals = Arrivals()
        self.metrics = Metrics(lambda: self.waiting, lambda: self.ready)
        self._model: Model | None = None
        self._batcher: Batcher | None = None
        self._folder: Path | None = None
        self._inside = 0
        self._bytes_inside = 0
        self._left = threading.Condition()
        self._deadlines = Deadlines(settings.deadline_s)
        self._large = bodies.LargeBodies(card.task, lambda: self.limits)

    # Life

    def start(self, folder: Path | None, runtime: Runtime) -> None:
        """Load the model and have it answer once; then it is ready."""
        began = time.monotonic()
        model = families.load(self.card.name, folder, runtime)
        self._model, self._folder = model, folder
        self._batcher = Batcher(
            model.batch_points,
            self.metrics.batch_size.observe,
            threads.lanes(runtime.device, runtime.threads),
            runtime.threads,
            threads.use,
            self.arrivals,
            memory.Tidy(),
        )
        series, ask = tasks.example(self.card.task, model)
        trial = tasks.Trial(ask, runtime.threads if runtime.device == "cpu" else 1)
        try:
            self._batcher.threads_alone = cast(int, self._batcher.submit(Job(series, trial)).result())
        except ModelFailed as error:
            raise ConfigError(f"{self._weights()}: expected weights that answer one request, but {error}") from error
        gc.freeze()  # what is here now stays: looking through all of torch for garbage stopped everything for 85 ms
        self.metrics.info.info({k: str(v) for k, v in self.describe().items() if isinstance(v, str)})
        self._loaded_and_tried = True
        log.info("ready after %.1f s: %s", time.monotonic() - began, self.summary())

    def stop_accepting(self) -> None:
        """From now on new requests get 503; those inside are answered. Takes no lock: signal handlers may call it."""
        self._stopping = True

    def wait_until_empty(self, timeout_s: float) -> bool:
        """Wait for the requests inside; True when none is left."""
        with self._left:
            return self._left.wait_for(lambda: not self._inside, timeout_s)

    def close(self, timeout_s: float | None = None) -> None:
        """End the inference threads, if they ever began; one that hangs is left to the process's end."""
        self._large.close()
        if self._batcher:
            self._batcher.close(timeout_s)
        self._deadlines.close()

    @property
    def state(self) -> str:
        if self._stopping:
            return STOPPING
        return READY if self._loaded_and_tried else LOADING

    @property
    def ready(self) -> bool:
        """A request that comes now can be answered; never waits."""
        return self.state == READY and self._batcher is not None and not self._batcher.stuck(self.settings.stall_s)

    @property
    def why_not_ready(self) -> str:
        """The state in a word, where "ready" would be wrong."""
        return "hung: its model does not come back" if self.state == READY else self.state

    def healthy(self) -> bool:
        """What the watchdog wants to know: loading, or the inference thread takes up work."""
        return self._batcher is None or self._batcher.healthy(self.settings.stall_s)

    # Facts

    @property
    def limits(self) -> Settings:
        """The settings, and what the loaded model asks beyond them."""
        least = self._model.min_context if self._model else 0
        return Settings(**vars(self.settings) | {"min_rows": max(self.settings.min_rows, least)})

    def warnings(self, series: Series) -> tuple[str, ...]:
        """What the loaded model cannot do with a series as it is."""
        return requests.filled_covariates(series, self._loaded().capabilities, self.card.name)

    @property
    def waiting(self) -> int:
        return self._batcher.length if self._batcher else 0

    def summary(self) -> str:
        """One line for STATUS= and the journal."""
        model = self._loaded()
        where = f" from {self._folder}" if self._folder else ""
        return f"{self.card.name}{where}, {model.path}, context up to {model.max_context}"

    def describe(self) -> dict[str, object]:
        """What GET /v1/models tells."""
        model, limits = self._model, self.limits
        loaded: dict[str, object] = {}
        most_covariates = limits.max_covariates
        if model:
            loaded = {
                "checkpoint": self._folder.name if self._folder else "packaged",
                "capabilities": asdict(model.capabilities),
                "max_context": model.max_context,
                "min_context": model.min_context,
                "path": model.path,
                "covariates_beside_max_horizon": self._covariates(model, limits.max_horizon),
            }
            most_covariates = max(self._covariates(model, 1).values())
        return {
            "family": self.card.name,
            "task": self.card.task,
            "version": __version__,
            "state": self.state,
            **loaded,
            "limits": {
                "min_rows": limits.min_rows,
                "max_rows": limits.max_rows,
                "max_horizon": limits.max_horizon,
                "max_covariates": most_covariates,
                "max_body_mib": limits.max_body_mib,
                "queue": limits.queue,
                "deadline_s": limits.deadline_s,
            },
        }

    def _covariates(self, model: Model, horizon: int) -> dict[str, int]:
        """How many of each kind fit beside a horizon, if there are none of the other kind."""
        family, can = cast(Family, model), model.capabilities
        counts = range(1, self.settings.max_covariates + 1)
        schemas = {
            "past": [(count, 0) for count in counts] if can.past_covariates else [],
            "future": [(0, count) for count in counts] if can.future_covariates else [],
        }
        return {
            kind: sum(family.context_for(horizon, schema) >= family.min_room for schema in rows)
            for kind, rows in schemas.items()
        }

    def _weights(self) -> str:
        """Where the model's numbers came from."""
        if not self._folder:
            return f"the weights in the package of {self.card.name}"
        names = [checkpoint.files[-1] for checkpoint in self.card.checkpoints]
        return str(self._folder / next((name for name in names if (self._folder / name).exists()), ""))

    def refused(self, method: str, status: int) -> None:
        """Count a request that was refused before it was read."""
        if method == "POST":
            self.metrics.requests.labels(str(status)).inc()

    # Work

    def admitted(self, body_bytes: int, begin: Callable[[float], Answer[T]]) -> Answer[T]:
        """Let one request in, or refuse it at once; it has left when its answer is there.

        Args:
            begin: called with the moment of the request's deadline.
        """
        deadline = self._enter(body_bytes)
        try:
            answer = begin(deadline)
        except BaseException:
            self._leave(body_bytes)
            raise
        answer.future.add_done_callback(lambda _: self._leave(body_bytes))
        return answer

    def read(
        self,
        body: bytes,
        deadline: float,
        wanted: Callable[[], bool],
        then: Callable[[bodies.Request], Answer[T]],
    ) -> Answer[T]:
        """What ``then`` makes of the request in a body; of a large one later, on another thread.

        Raises:
            BadRequest, TooLarge: at once, or when the answer is asked for.
        """
        if len(body) <= bodies.LARGE:
            return then(bodies.read(self.card.task, body, self.limits))
        done: Future[Answer[T]] = Future()

        def begin(request: bodies.Request) -> None:
            answer = then(request)
            answer.future.add_done_callback(lambda _: finish(done, answer))

        self._deadlines.watch(done, deadline)
        self._large.submit(bodies.Unread(body, deadline, wanted, begin, cast("Future[object]", done)))
        return Answer(done, lambda answer: answer.get())

    def forecast(
        self, request: requests.ForecastRequest, deadline: float, wanted: Callable[[], bool] = always
    ) -> Answer[Forecast]:
        """The answer to one checked request: quantile rows are the interval's lower and upper end.

        Raises:
            BadRequest: the loaded checkpoint cannot use what was sent.
            OutOfMemory: it would not fit, by estimate.
            NotReady
        """
        family, horizon = cast(Family, self._loaded()), request.horizon
        requests.check_capabilities(request, family.capabilities, self.card.name)
        fit = scaling.fitted(request.series, family, horizon)
        requests.check_fit(fit, request, family, self.card.name)
        series, scale = scaling.standardise(fit.series, not family.capabilities.missing_values)
        if not scale.spread:
            return Answer.known(scaling.constant(horizon, request.levels, scale))
        memory.check_fits(series, family.batch_points)
        job = Job(series, tasks.ForecastAsk(family, fit.lead, request.levels), wanted)
        return self._begun(job, deadline, lambda made: scaling.restore(made.last(horizon), scale, request.levels))

    def impute(self, series: Series, deadline: float, wanted: Callable[[], bool] = always) -> Answer[FloatArray]:
        """The whole series, shape (n,): the model's values where the target is NaN.

        Raises:
            BadRequest: too few points are observed.
            OutOfMemory, NotReady
        """
        imputer = cast(Imputer, self._loaded())
        requests.check_context(series, imputer.max_context, imputer.min_context, self.card.name)
        standard, scale = scaling.standardise(series, False)
        if not scale.spread:
            return Answer.known(np.full(len(series), scale.centre))
        memory.check_fits(standard, imputer.batch_points)
        job = Job(standard, tasks.ImputationAsk(imputer), wanted)
        return self._begun(job, deadline, lambda filled: scaling.completed(filled, scale))

    def _begun(self, job: Job, deadline: float, finish: Callable[[Any], T]) -> Answer[T]:
        if self._batcher is None:
            raise NotReady(f"{self.card.name} is {self.state}")
        future = self._batcher.submit(job)
        self._deadlines.watch(future, deadline)
        return Answer(future, finish)

    def _enter(self, body_bytes: int) -> float:
        limits = self.settings
        with self._left:
            if self.state != READY:
                raise NotReady(f"{self.card.name} is {self.state}")
            if self._inside >= limits.queue:
                raise QueueFull(f"{limits.queue} requests are waiting already")
            if self._inside and self._bytes_inside + body_bytes > limits.queue_mib << 20:
                raise QueueFull(f"requests of {self._bytes_inside >> 20} MiB together are waiting already")
            self._inside += 1
            self._bytes_inside += body_bytes
        return time.monotonic() + float(limits.deadline_s)

    def _leave(self, body_bytes: int) -> None:
        with self._left:
            self._inside -= 1
            self._bytes_inside -= body_bytes
            self._left.notify_all()

    def _loaded(self) -> Model:
        if self._model is None:
            raise NotReady(f"{self.card.name} is {self.state}")
        return self._model
