"""The service under test, and its supervisor, which restarts it as systemd would."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from tsfm.system.loopback import Broken, Unreachable, exchange

ROOT = Path(__file__).resolve().parents[2]
# Small limits, so that the traffic reaches them.
SETTINGS = "[fracast]\nqueue = 16\nqueue_mib = 16\ndeadline_s = 30\n"


class Service:
    """`tsfm serve fracast` on a free port. A process that ends is started again until ``stop``."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.log = folder / "fracast.log"
        (folder / "tsfm.ini").write_text(SETTINGS)
        self._environment = os.environ | {"TSFM_INI": str(folder / "tsfm.ini"), "PYTHONPATH": str(ROOT / "src")}
        self.restarts = self.crashes = 0
        self.growth_mib: list[float] = []
        self.disturbed: list[float] = []  # times at which a fault began or ended
        self._expected = self._ending = False
        self._start()
        self._restarter = threading.Thread(target=self._restart_loop)
        self._restarter.start()

    def kill(self, number: signal.Signals) -> None:
        """Send the signal ``number`` to the process and wait until the new process answers."""
        self._expected = True
        self._note_growth()
        before = self.restarts
        self.disturbed.append(time.monotonic())
        self._process.send_signal(number)
        while self.restarts == before:
            time.sleep(0.02)
        self.until_ready()
        self.disturbed.append(time.monotonic())

    def freeze(self, seconds: float) -> None:
        """Suspend the process for ``seconds`` without ending it."""
        self._process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self._process.send_signal(signal.SIGCONT)

    def until_ready(self, limit_s: float = 120) -> None:
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            with suppress(Unreachable, Broken):
                if exchange(f"http://127.0.0.1:{self.port}/readyz", timeout_s=20).status == 200:
                    self._ready_mib = self._mib()
                    return
            time.sleep(0.05)
        raise SystemExit(f"the service is not ready after {limit_s} s:\n{self.log.read_text()[-2000:]}")

    def disturbed_since(self, moment: float) -> bool:
        """Whether a process was ended or restarting while a request that began at ``moment`` was in progress."""
        faults = list(self.disturbed)
        return len(faults) % 2 == 1 or any(fault >= moment for fault in faults)

    def stop(self) -> int:
        self._note_growth()
        self._ending = True
        self._process.send_signal(signal.SIGTERM)
        self._restarter.join()
        return self._process.returncode

    def _start(self) -> None:
        command = [sys.executable, "-m", "tsfm", "serve", "fracast", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, env=self._environment, stderr=log)

    def _restart_loop(self) -> None:
        while True:
            self._process.wait()
            if self._ending:
                return
            self.crashes += not self._expected
            self._expected = False
            self._start()
            self.restarts += 1

    def _note_growth(self) -> None:
        self.growth_mib.append(self._mib() - self._ready_mib)

    def _mib(self) -> float:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024
