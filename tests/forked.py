"""Processes that begin with torch imported: forks of one process, as each import takes more than a second of CPU.

A fork has a process id, files, an environment and a current folder of its own, and ends as Python ends; its command
line is that of the process that it was forked from. Of tsfm, that process has only what maps torch. So a fork serves
where the answers are tested; how a process starts is tested with a new one.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import orjson

FILES = 4  # standard input, output and error, and where the end of the process is told


class Forked:
    """What a test asks of a subprocess.Popen, for a fork of the process with torch."""

    def __init__(self, arguments: list[str], env: dict[str, str], stdout: int = 1, stderr: int = 2) -> None:
        """``arguments`` are those of the interpreter: ``-c CODE ...`` or ``-m MODULE ...``."""
        self.returncode: int | None = None
        self._told, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, open(os.devnull, "rb") as nothing:
            asked = orjson.dumps({"arguments": arguments, "env": env, "folder": os.getcwd()})
            socket.send_fds(_parent(), [asked], [nothing.fileno(), stdout, stderr, theirs.fileno()])
        self.pid = int(self._told.recv(20))

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._ended(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("a fork", timeout)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], timeout)[0]:
            self.returncode = int(self._told.recv(20))
            self._told.close()
        return self.returncode


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a fork, as ``subprocess.run`` does."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = Forked(["-c", code, *arguments], {**os.environ}, out.fileno(), err.fileno())
        try:
            status = process.wait(240)
        finally:
            process.kill()
        texts = [file.seek(0) or file.read() for file in (out, err)]
    return subprocess.CompletedProcess(arguments, status, *texts)


@functools.cache
def _parent() -> socket.socket:
    """The channel to the process with torch, which ends when the channel is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-P", __file__, str(theirs.fileno())]
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "src")}
        process = subprocess.Popen(command, env=env, pass_fds=[theirs.fileno()])

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _fork_on_request(channel: socket.socket) -> list[str]:
    """Fork for each request; returns, in the fork, the arguments that it was asked to start with."""
    while True:
        asked, files, _, _ = socket.recv_fds(channel, 1 << 20, FILES)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not asked:
            sys.exit()
        if not os.fork():
            break
        for file in files:
            os.close(file)
    channel.close()
    *standard, told = files
    if pid := os.fork():
        with socket.socket(fileno=told) as end:
            end.send(b"%d" % pid)
            _, status = os.waitpid(pid, 0)
            end.send(b"%d" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    os.close(told)
    for number, file in enumerate(standard):
        os.dup2(file, number)
        os.close(file)
    start = orjson.loads(asked)
    os.environ.clear()
    os.environ.update(start["env"])
    os.chdir(start["folder"])
    return start["arguments"]


def _main() -> None:
    from tsfm.system import preload

    preload.begin()  # for what it sets in the environment: torch reads it when it is mapped
    preload.finish()
    import torch  # noqa: F401

    gc.freeze()  # a fork that collected what it shares with the others would copy it
    kind, what, *sys.argv[1:] = _fork_on_request(socket.socket(fileno=int(sys.argv[1])))
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    _main()
