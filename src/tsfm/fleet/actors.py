"""The processes of a batch job on all hosts of a fleet: actors of Ray, one for each CPU that nothing else has booked.

The files stay on the host that runs the command: portions and forecasts travel through Ray. Ray Data would read and
write on every host, so that all of them need the same files, and waits for ever where actors have booked all CPUs.
"""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm import __version__, paths
from tsfm.errors import TsfmError
from tsfm.fleet import worker
from tsfm.fleet.worker import Job, Worker

if TYPE_CHECKING:
    import pyarrow as pa

HEAD_S = 10.0
START_S = 180.0  # for all models to be loaded; Ray starts a process first


class Remote:
    """One process on some host of the fleet, with the settings and the weights of that host."""

    def __init__(self, job: Job) -> None:
        self._failure = ""
        paths.use_packages(job.family)
        try:
            self._worker = Worker(job)
        except TsfmError as error:
            self._failure = str(error)

    def begun(self) -> tuple[str, str, str]:
        """Ray's name of the host, the version, and why it cannot forecast; empty: it can."""
        import ray

        return str(ray.get_runtime_context().get_node_id()), __version__, self._failure

    def forecast(self, table: pa.Table) -> pa.Table:
        """See ``Worker.forecast``."""
        return self._worker.forecast(table)


@dataclass
class Portion:
    """Series that wait for an actor, and where their forecasts go."""

    table: pa.Table
    part: Path
    future: Future[tuple[int, int]] = field(default_factory=Future)
    again: bool = False  # an actor has ended with it


class Actors:
    """The pool of a batch job on a fleet.

    Args:
        most: actors at most; None: as many as CPUs are free. What is booked, such as by replicas that serve, stays so.

    Attributes:
        size: actors that have loaded the model.

    Raises:
        TsfmError: this host is in no fleet that runs, no CPU is free, or no host can load the model.
    """

    def __init__(self, job: Job, most: int | None) -> None:
        import ray

        self._ray: Any = ray
        free = _free_cpus(ray)
        kind = ray.remote(num_cpus=1, max_restarts=0)(Remote)
        actors = self._begin([kind.remote(job) for _ in range(min(most or free, free))])
        self.size = self._left = len(actors)
        self._lock = threading.Lock()
        self._portions: queue.SimpleQueue[Portion | None] = queue.SimpleQueue()
        for actor in actors:
            threading.Thread(target=self._work, args=[actor], name="actor", daemon=True).start()

    def submit(self, table: pa.Table, part: Path) -> Future[tuple[int, int]]:
        """Forecast a portion into a file: series with a forecast, and without one."""
        portion = Portion(table, part)
        with self._lock:
            self._put(portion)
        return portion.future

    def shutdown(self) -> None:
        """End the actors, and what they work on."""
        for _ in range(self.size):
            self._portions.put(None)
        self._ray.shutdown()

    def _begin(self, actors: list[Any]) -> list[Any]:
        """Wait for the models; those that could not load theirs are not used."""
        asked = {actor.begun.remote(): actor for actor in actors}
        done, late = self._ray.wait(list(asked), num_returns=len(asked), timeout=START_S)
        reasons = [self._reason(one) for one in done] + [f"not ready after {START_S:g} s" for _ in late]
        for reason in sorted(set(filter(None, reasons))):
            print(f"{reasons.count(reason)} of {len(actors)} processes cannot be used: {reason}", file=sys.stderr)
        able = [asked[one] for one, reason in zip(done, reasons, strict=False) if not reason]
        for actor in {*actors} - {*able}:
            self._ray.kill(actor)
        if not able:
            self._ray.shutdown()
            raise TsfmError("no process of the fleet can forecast; the reasons are above")
        return able

    def _reason(self, begun: Any) -> str:
        """Why an actor cannot be used."""
        try:
            node, version, failure = self._ray.get(begun)
        except self._ray.exceptions.RayError as error:
            return str(error).strip().splitlines()[-1]
        host = next((one["NodeManagerAddress"] for one in self._ray.nodes() if one["NodeID"] == node), node)
        if version != __version__:
            return f"{host} has version {version}, this host {__version__}"
        return f"{host}: {failure}" if failure else ""

    def _work(self, actor: Any) -> None:
        """Have an actor forecast portions until there are none, or until it has ended; runs on a thread of its own."""
        while (portion := self._portions.get()) is not None:
            try:
                made = self._ray.get(actor.forecast.remote(portion.table))
                portion.future.set_result(worker.keep(made, portion.part))
            except self._ray.exceptions.RayActorError:
                self._lose(portion)
                return
            except self._ray.exceptions.RayTaskError as error:
                portion.future.set_exception(error.cause)
            except BaseException as error:  # noqa: BLE001  who waits for the future raises it
                portion.future.set_exception(error)

    def _lose(self, portion: Portion) -> None:
        """An actor has ended: what it worked on goes to another one, once."""
        with self._lock:
            self._left -= 1
            print(f"a process of the fleet has ended; {self._left} go on", file=sys.stderr)
            if portion.again:
                portion.future.set_exception(TsfmError("two processes have ended with the same series"))
            else:
                portion.again = True
                self._put(portion)
            while not self._left and not self._portions.empty():
                if waiting := self._portions.get():
                    self._put(waiting)

    def _put(self, portion: Portion) -> None:
        """Queue a portion, or let it fail where no actor is left; the caller holds the lock."""
        if not self._left:
            portion.future.set_exception(TsfmError("no process of the fleet is left; the same command goes on"))
        else:
            self._portions.put(portion)


def _check_head(address: str) -> None:
    """Fail soon where nobody listens: Ray tries for minutes.

    Args:
        address: HOST:PORT, or empty: Ray finds it on this host.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), HEAD_S).close()


def _free_cpus(ray: Any) -> int:
    """Join the fleet, and count the CPUs that nothing has booked."""
    try:
        _check_head(os.environ.get("RAY_ADDRESS", ""))
        ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
    except OSError as error:
        raise TsfmError(f"this host is in no fleet that runs: {str(error).splitlines()[0]}") from None
    free = int(ray.available_resources().get("CPU", 0))
    if not free:
        booked = int(ray.cluster_resources().get("CPU", 0))
        ray.shutdown()
        raise TsfmError(f"all {booked} CPUs of the fleet are booked: add a host, or forecast without --fleet")
    return free
