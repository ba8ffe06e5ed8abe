"""A service in its own process that also measures the bare model, on the thread that serves.

``python -m bench.host FAMILY FOLDER PORT``: each line on stdin requests a measurement, each line of JSON on stdout
is a result.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import common


@dataclass(frozen=True)
class Bare:
    """Queued like a request; measures the bare model when it runs."""

    model: object
    lengths: tuple[int, ...]
    batch: int
    repeats: int

    def run(self, batch: Sequence[object]) -> list[object]:
        from tsfm.nets import threads
        from tsfm.numerics.scaling import standardise
        from tsfm.series import Series

        threads.use(common.THREADS)  # all CPUs, whatever the service uses for a single job
        waves = common.waves(sorted(self.lengths))
        prepared = [standardise(Series(wave), False, self.model.max_context)[0] for wave in waves]
        batches = [prepared[i : i + self.batch] for i in range(0, len(prepared), self.batch)]
        times = []
        for _ in range(self.repeats):
            began = time.perf_counter()
            for one in batches:
                self.model.forecast(one, common.HORIZON, (0.1, 0.9))
            times.append(time.perf_counter() - began)
        return [times]


def main(family: str, folder: str, port: str) -> None:
    import numpy as np

    from tsfm import families, logs, settings
    from tsfm.system import preload

    preload.begin()  # as in `tsfm serve`, before other imports
    from tsfm.engine.work import WorkItem
    from tsfm.http import server
    from tsfm.series import Series

    logs.set_up("warning")
    chosen = settings.read(family, {"model_folder": folder, "port": port}, Path(os.devnull))
    process = server.Process(families.find(family), chosen, Path(folder))

    def orders() -> None:
        try:
            for line in sys.stdin:  # stdin closes when the benchmark ends, for whatever reason
                order = json.loads(line)
                engine = process._engine
                bare = Bare(engine._loaded(), tuple(order["lengths"]), order["batch"], order["repeats"])
                print(json.dumps(engine._scheduler.submit(WorkItem(Series(np.zeros(1)), bare)).result()), flush=True)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=orders, daemon=True).start()
    process.run()


class Host:
    """The benchmark's side of ``main``: starts the process and requests measurements."""

    def __init__(self, family: str, folder: Path) -> None:
        self.port = common.free_port()
        command = [sys.executable, "-m", "bench.host", family, str(folder), str(self.port)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        # In a session of its own and with its first thread before the others, as systemd starts a service.
        self._process = subprocess.Popen(command, env=common.environment(), start_new_session=True, **pipes)
        common.until_ready(self._process, self.port)
        common.answers_first(self._process.pid)

    def bare(self, lengths: Sequence[int], batch: int, repeats: int = 1) -> list[float]:
        """Seconds of each repetition over all lengths, in bare batches sorted by length."""
        order = {"lengths": list(lengths), "batch": batch, "repeats": repeats}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(40)
        self._process.stdin.close()
        self._process.stdout.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
