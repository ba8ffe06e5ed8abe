"""A Debian with a real PID 1 and no network: boot a copy of a cached root, run commands in it, take it away.

Works as root on hosts without systemd, D-Bus or machined.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("TSFM_HOST_CACHE", "/var/cache/taos-tsfm-test"))
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_S, STOP_S = 60, 30


def scratch(prefix: str) -> Path:
    """A new folder beside the cached roots, on a disk with room for copies of them; who asks for it removes it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=CACHE, prefix=prefix))


@dataclass(frozen=True)
class System:
    """One release of Debian, and the packages in its root: there is no network to fetch more by."""

    suite: str
    include: str
    options: tuple[str, ...] = ()

    def base(self) -> Path:
        """The root that every container is a copy of; made once, which takes about a minute."""
        key = hashlib.sha256(",".join((self.include, *self.options)).encode()).hexdigest()[:12]
        root = CACHE / f"{self.suite}-{key}"
        if not root.is_dir():
            draft = scratch("draft-")
            command = ["debootstrap", "--variant=minbase", f"--include={self.include}", *self.options]
            subprocess.run([*command, self.suite, str(draft), *_mirror()], check=True, stdout=subprocess.DEVNULL)
            shutil.rmtree(draft / "var/cache/apt/archives", ignore_errors=True)
            (draft / "var/cache/apt/archives/partial").mkdir(parents=True)
            for path in (draft / "etc/apt/sources.list", draft / "etc/resolv.conf"):
                path.unlink(missing_ok=True)
            draft.chmod(0o755)
            draft.rename(root)
        return root


# curl is what the documentation fetches and checks with. dnf is for the rpm packages, Python for the tests themselves.
BOOKWORM = System("bookworm", "systemd,systemd-sysv,dbus,python3,ca-certificates,curl,dnf,rpm")
# Older and newer, without any Python. On a Debian 11 that was upgraded from older ones, /bin is not a link to /usr/bin.
BASIC = "systemd,systemd-sysv,dbus,ca-certificates,curl"
BULLSEYE = System("bullseye", BASIC, ("--no-merged-usr",))
TRIXIE = System("trixie", BASIC)


def _mirror() -> list[str]:
    """The Debian mirror in this machine's own apt sources, which has the other releases too; else debootstrap's."""
    command = ["apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"]
    for line in subprocess.run(command, capture_output=True, text=True).stdout.splitlines():
        release, component, address = line.split(" ", 2)
        if (release, component) == (BOOKWORM.suite, "main"):
            return [address]
    return []


class Container:
    """One booted copy; use as a context manager."""

    def __init__(self, *options: str, system: System = BOOKWORM) -> None:
        self._base = system.base()
        self._folder = scratch("box-")
        self.root = self._folder / "root"
        self._options = options
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._init = 0

    def __enter__(self) -> Container:
        subprocess.run(["cp", "-a", "--reflink=auto", str(self._base), str(self.root)], check=True)
        (self.root / "etc/machine-id").write_text("")
        try:
            self.boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.halt()
        # Deleting through a mount that was left would delete what is mounted.
        mounts = Path("/proc/self/mountinfo").read_text()
        if f"{self.root}/" in mounts:
            raise AssertionError(f"something is still mounted below {self.root}")
        shutil.rmtree(self._folder)

    def boot(self) -> None:
        # --register=no --keep-unit: neither machined nor D-Bus is needed here. --system-call-filter=bpf:
        # without it IPAddressDeny= is silently not enforced. --private-network: only a loopback inside.
        name = self._folder.name.replace("_", "x")  # which a machine's name must not have
        command = ["systemd-nspawn", "--quiet", "--directory", str(self.root), "--machine", name]
        command += ["--register=no", "--keep-unit", "--link-journal=no", "--private-network", "--resolv-conf=off"]
        command += ["--system-call-filter=bpf", "--console=pipe", "--boot", *self._options]
        with (self._folder / "console").open("wb") as console:
            # A session of its own: an interrupt at the terminal must not stop it half way.
            self._nspawn = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
            )
        until(self._up, BOOT_S, lambda: f"the container did not boot:\n{self._console()}")

    def halt(self) -> None:
        """Orderly, then by force. Killing nspawn alone would leave the container running."""
        nspawn = self._nspawn
        if nspawn is None:
            return
        if nspawn.poll() is None:
            nspawn.send_signal(signal.SIGTERM)  # which nspawn turns into a clean halt
            try:
                nspawn.wait(STOP_S)
            except subprocess.TimeoutExpired:
                if self._init:
                    os.kill(self._init, signal.SIGKILL)  # takes every process inside with it
                nspawn.kill()
                nspawn.wait()
        self._nspawn, self._init = None, 0

    def run(self, command: str, check: bool = True, limit_s: int = 300) -> subprocess.CompletedProcess[str]:
        """A shell command inside, as root, with a clean environment; stdout and stderr together."""
        inner = ["timeout", "--kill-after=5", str(limit_s), "env", "-i", f"PATH={PATH}", "HOME=/root"]
        inner += ["LANG=C.UTF-8", "TERM=dumb", "DEBIAN_FRONTEND=noninteractive", "SYSTEMD_PAGER="]
        spaces = ["--mount", "--uts", "--ipc", "--pid", "--net", "--cgroup"]
        enter = ["nsenter", "--target", str(self._init), *spaces, *inner, "sh", "-c", command]
        # The inner limit ends what runs inside; the outer one is for a container that no longer answers.
        done = subprocess.run(
            enter,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit_s + 30,
        )
        if check and done.returncode:
            raise AssertionError(f"{command}: exit {done.returncode}:\n{done.stdout}")
        return done

    def out(self, command: str) -> str:
        """What a command that succeeds prints."""
        return self.run(command).stdout.strip()

    def beside(self, command: list[str]) -> subprocess.Popen[bytes]:
        """A program of this machine's on the container's network, until the caller ends it."""
        return subprocess.Popen(["nsenter", "--target", str(self._init), "--net", *command], stderr=subprocess.DEVNULL)

    def _up(self) -> bool:
        nspawn = self._nspawn
        if nspawn is None or nspawn.poll() is not None:
            raise AssertionError(f"nspawn ended while booting:\n{self._console()}")
        self._init = self._init or _first_process(nspawn.pid)
        if not self._init:
            return False
        state = self.run("systemctl is-system-running", check=False, limit_s=10).stdout.strip()
        return state in ("running", "degraded")

    def _console(self) -> str:
        return (self._folder / "console").read_text(errors="replace")[-4000:]


def _first_process(nspawn: int) -> int:
    """The container's PID 1 as seen from here; 0 while there is none."""
    try:
        children = Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split()
        for child in children:
            status = Path(f"/proc/{child}/status").read_text()
            inner = next(line for line in status.splitlines() if line.startswith("NSpid:"))
            if inner.split()[-1] == "1":
                return int(child)
    except OSError:
        pass  # one of them ended while we looked
    return 0


def until(condition: Callable[[], bool], limit_s: float, message: Callable[[], str]) -> None:
    """Wait for what nothing tells of, with a deadline."""
    deadline, pause = time.monotonic() + limit_s, threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"after {limit_s} s: {message()}")
        pause.wait(0.1)
