"""Starts a service for one command; it ends together with the command that started it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from tsfm import paths
from tsfm.card import Card
from tsfm.cli import client
from tsfm.errors import TsfmError
from tsfm.settings import Settings
from tsfm.system.loopback import Unreachable
from tsfm.system.subprocesses import ends_with
from tsfm.weights import checkpoints

DRAIN_S = 10
Running = tuple[client.Target, dict[str, object]]
"""A service and its facts."""


class NotStarted(TsfmError):
    """The family has no service here, and none can be started now."""


@contextlib.contextmanager
def running(card: Card, settings: Settings, first_check: bool = False) -> Iterator[Running]:
    """The family's service and its facts. If nothing listens at its address, start a service and stop it at the end.

    A service that is loading is waited for: a second copy of its model would need the same memory again.

    Args:
        first_check: start none that ``check`` refuses.

    Raises:
        NotStarted: ``check`` refuses it.
        TsfmError: it does not become ready, or another server uses its port.
    """
    service = client.target(card, settings)
    try:
        facts = client.wait(service)
    except Unreachable:
        if first_check:
            check(card, settings)
        print(f"no {card.name} answers at {service.base}: starting one for this command", file=sys.stderr)
    else:
        yield service, facts
        return
    with own(card, settings) as found:
        yield found


def check(card: Card, settings: Settings) -> None:
    """Whether a service of the family can be started beside what runs on this host.

    Raises:
        NotStarted: it is not installed, its weights are incomplete, or it needs more memory than is left.
    """
    from tsfm.engine import memory  # it imports numpy, which the command line's environment has

    if not is_installed(card):
        raise NotStarted(f"not installed: install taos-tsfm-{card.name}")
    try:
        checkpoints.resolve(card, settings.model_folder, settings.checkpoint)
    except TsfmError as error:
        raise NotStarted(str(error)) from None
    left = memory.available() >> 20
    if card.memory_mib > left:
        raise NotStarted(f"needs about {card.memory_mib} MiB of memory, {left} MiB are left")


def is_installed(card: Card) -> bool:
    """Whether the family has an environment here; that of a checkout serves all families."""
    return paths.venv_python(card.name) is not None or not Path(__file__).is_relative_to(paths.LIB)


@contextlib.contextmanager
def own(card: Card, settings: Settings, *options: str) -> Iterator[Running]:
    """A service that no other command uses, on a free port.

    Raises:
        TsfmError: it does not become ready.
    """
    port = _free_port()
    service = client.Target(card, f"http://127.0.0.1:{port}", client.target(card, settings).token)
    with _child(card, settings, port, options) as process:
        yield service, _until_ready(service, process)


@contextlib.contextmanager
def _child(card: Card, settings: Settings, port: int, options: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-P", "-m", "tsfm", "serve", card.name, "--host", "127.0.0.1", "--port", str(port)]
    for flag, value in (("--model-folder", settings.model_folder), ("--model-name", settings.checkpoint)):
        command += [flag, value] if value else []
    command += options
    # sys.path and not just PYTHONPATH: the installed command finds its library by itself.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment.pop("NOTIFY_SOCKET", None)  # systemd must not take its messages for ours
    before = signal.signal(signal.SIGTERM, _end)
    process = subprocess.Popen(command, env=environment, preexec_fn=ends_with(os.getpid()))
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(DRAIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        signal.signal(signal.SIGTERM, before)


def _end(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _until_ready(service: client.Target, process: subprocess.Popen[bytes]) -> dict[str, object]:
    def alive() -> None:
        if process.poll() is not None:
            raise TsfmError("the service ended before it was ready; see its message above")

    return client.wait(service, alive)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
