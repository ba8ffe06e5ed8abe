"""A host of a fleet on this machine: `tsfm fleet run` with a tree of its own, on a loopback address.

Ray's ports are the same for every host, and it takes them on all addresses: on one machine there is one at a time,
unless each has a network of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / "build/fleet"
STARTS_S = 180.0
LOCK = Path(tempfile.gettempdir()) / "tsfm-ray.lock"


def lock() -> IO[str]:
    """The one place for a Ray on this machine; close it to give it back."""
    held = LOCK.open("a")
    fcntl.flock(held, fcntl.LOCK_EX)
    return held


class RayHost:
    """One host of a fleet.

    Args:
        settings: the text of tsfm.ini; FOLDER in it is the host's folder.
        before: words of the command before our own, to run it in another network.

    Attributes:
        folder: its tree, below /tmp, since paths of sockets are short.
    """

    def __init__(self, settings: str, before: Sequence[str] = (), token: str = "0123456789abcdef" * 4) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tf", dir="/tmp"))
        self._before = list(before)
        for name in ("usr/lib/taos-tsfm", "var/lib", "r", "etc/taos"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "usr/lib/taos-tsfm/fleet").symlink_to(ENVIRONMENT)
        (self.folder / "usr/lib/taos-tsfm/lib").symlink_to(ROOT / "src")
        self.ini, self.log = self.folder / "tsfm.ini", self.folder / "ray.log"
        (self.folder / "token").write_text(token)
        self.configure(settings)
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, settings: str) -> None:
        self.ini.write_text(settings.replace("FOLDER", str(self.folder)))

    @property
    def environment(self) -> dict[str, str]:
        ours = {"TSFM_ROOT": str(self.folder), "TSFM_INI": str(self.ini), "PYTHONPATH": str(ROOT / "src")}
        return os.environ | ours | {"HF_HUB_OFFLINE": "1", "RUNTIME_DIRECTORY": str(self.folder / "r")}

    def start(self) -> None:
        """Start Ray; it begins while this returns."""
        command = [*self._before, sys.executable, "-m", "tsfm", "fleet", "run"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )

    def tsfm(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a subcommand of tsfm on this host."""
        command = [*self._before, sys.executable, "-m", "tsfm", *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120)

    def apply(self, families: int = 1) -> None:
        """`tsfm fleet apply`, as soon as the head answers and knows of nodes that can serve so many families."""
        ends = time.monotonic() + STARTS_S
        while True:
            done = self.tsfm("fleet", "apply", "--dry-run")
            if done.returncode == 0 and len(json.loads(done.stdout)["applications"]) >= families:
                break
            if time.monotonic() > ends:
                log = self.log.read_text()[-2000:]
                raise RuntimeError(f"the head does not answer:\n{done.stdout}{done.stderr}\n{log}")
            time.sleep(0.5)  # Ray tells nobody when it is ready
        done = self.tsfm("fleet", "apply")
        if done.returncode:
            raise RuntimeError(f"{done.stdout}{done.stderr}")

    def status(self) -> dict[str, object]:
        """What `tsfm fleet status --json` prints."""
        facts: dict[str, object] = json.loads(self.tsfm("fleet", "status", "--json").stdout)
        return facts

    def until_nodes(self, count: int) -> None:
        """Wait until so many nodes, the head aside, have joined; to be asked of the head."""
        ends = time.monotonic() + STARTS_S
        while True:
            done = self.tsfm("fleet", "status", "--json")
            nodes = json.loads(done.stdout)["nodes"] if done.stdout else []
            if sum(one["state"] == "ALIVE" and not one["is_head"] for one in nodes) == count:
                return
            if time.monotonic() > ends:
                raise RuntimeError(f"not {count} nodes after {STARTS_S:g} s: {nodes}\n{done.stderr}")
            time.sleep(0.5)

    def until_complete(self, limit_s: float = STARTS_S) -> None:
        """Wait until every replica that is to be there takes requests."""
        ends = time.monotonic() + limit_s
        while (done := self.tsfm("fleet", "status")).returncode:
            if time.monotonic() > ends:
                raise RuntimeError(f"the fleet is not complete after {limit_s:g} s:\n{done.stdout}{done.stderr}")
            time.sleep(0.5)

    def pids(self, text: str = "") -> list[int]:
        """The processes of this host, which are one session, whose command has the text in it."""
        found = []
        for entry in Path("/proc").iterdir():
            if self.process and entry.name.isdigit():
                try:
                    session = int((entry / "stat").read_text().rpartition(")")[2].split()[3])
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue  # it has ended
                if session == self.process.pid and command and text in command:
                    found.append(int(entry.name))
        return found

    def kill(self, text: str = "", number: signal.Signals = signal.SIGKILL) -> int:
        """Send these processes a signal; returns how many there were."""
        found = self.pids(text)
        for pid in found:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        return len(found)

    def until_another(self, text: str, before: Sequence[int]) -> None:
        """Wait for a process with the text in its command, other than those of before."""
        ends = time.monotonic() + STARTS_S
        while not set(self.pids(text)) - set(before):
            if time.monotonic() > ends:
                raise RuntimeError(f"no other {text} after {STARTS_S:g} s")
            time.sleep(0.2)

    def stop(self) -> None:
        """Kill all that this host runs, as its unit does."""
        while self.kill():
            time.sleep(0.1)
        if self.process:
            self.process.wait()

    def remove(self) -> None:
        """The same, and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
