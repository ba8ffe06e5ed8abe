"""An haproxy as the unit of the balancer runs it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tsfm.fleet import balancer, haproxy

PROGRAM = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
SAYS_READY_S = 60


class Proxy:
    """The balancer of the settings in a file, until ``stop``.

    Args:
        folder: for its files.
        before: words of the command before haproxy's own, to run it in another namespace.

    Attributes:
        log: what haproxy has said.
    """

    def __init__(self, folder: Path, ini: Path, before: Sequence[str] = ()) -> None:
        if not PROGRAM:
            raise SystemExit("haproxy is not installed: apt install haproxy")
        self._ini, self._configuration, self.log = ini, folder / "haproxy.cfg", folder / "haproxy.log"
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notices.bind(str(folder / "notify"))
        self._notices.settimeout(SAYS_READY_S)
        self._write()
        environment = os.environ | {"NOTIFY_SOCKET": str(folder / "notify")}
        with self.log.open("wb") as log:
            command = [*before, PROGRAM, "-Ws", "-q", "-f", str(self._configuration)]
            self.process = subprocess.Popen(command, env=environment, stderr=log, stdout=log)
        self._wait_until_loaded()

    def reload(self) -> None:
        """Take up the settings as they are now."""
        self._write()
        self.process.send_signal(signal.SIGUSR2)
        self._wait_until_loaded()

    def memory_mib(self) -> float:
        """Memory of its processes, of which shared pages count in part."""
        master = self.process.pid
        workers = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in (master, *workers)]
        lines = [line for text in texts for line in text.splitlines() if line.startswith("Pss:")]
        return sum(int(line.split()[1]) for line in lines) / 1024

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        self._notices.close()

    def _write(self) -> None:
        configured = balancer.read(self._ini)
        if configured is None:
            raise SystemExit(f"{self._ini}: expected hosts in [balancer]")
        self._configuration.write_text(haproxy.configuration(configured))

    def _wait_until_loaded(self) -> None:
        """Wait until haproxy tells systemd that it is ready; before that it knows no signal."""
        while b"READY=1" not in self._notices.recv(4096):
            pass
