"""A service that lacks what time or another process brings: exit 75, and under systemd it waits before."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkpoints import chronos
from conftest import HERE, free_port

pytestmark = pytest.mark.slow


class Systemd:
    """The socket on which a service says its state."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(120)

    def until(self, words: str) -> str:
        """Wait for a message with these words in it."""
        while words not in (said := self._socket.recv(1 << 16).decode()):
            pass
        return said

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    there = Systemd(tmp_path / "notify")
    yield there
    there.close()


# The command as it is, with a shorter wait.
SHORT = "from tsfm.cli.commands import serve; serve.PATIENCE_S = 3; import tsfm.__main__"


@pytest.fixture
def service(request: pytest.FixtureRequest, tmp_path: Path, systemd: Systemd) -> Iterator[subprocess.Popen[str]]:
    """chronos with a folder that has no weights yet."""
    words = ["chronos", "--model-folder", str(tmp_path / "models"), "--port", str(free_port())]
    environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src"), "NOTIFY_SOCKET": str(systemd.path)}
    command = [sys.executable, *getattr(request, "param", ("-m", "tsfm")), "serve", *words]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.terminate()


def test_weights_that_come_while_it_waits_are_served(
    service: subprocess.Popen[str], systemd: Systemd, tmp_path: Path
) -> None:
    said = systemd.until("STATUS=waiting: weights of amazon/chronos-bolt-tiny: ")
    assert "lacks config.json, model.safetensors" in said
    assert "\n" not in said
    chronos.make(tmp_path / "made")
    shutil.move(tmp_path / "made", tmp_path / "models")
    systemd.until("READY=1")


def test_a_stop_ends_the_waiting_at_once(service: subprocess.Popen[str], systemd: Systemd) -> None:
    systemd.until("STATUS=waiting: ")
    service.send_signal(signal.SIGTERM)
    assert service.wait(15) in (0, -signal.SIGTERM)


@pytest.mark.parametrize("service", [("-c", SHORT)], indirect=True)
def test_after_its_patience_it_ends_with_75_and_the_same_sentence(
    service: subprocess.Popen[str], systemd: Systemd
) -> None:
    systemd.until("STATUS=waiting: ")
    _, told = service.communicate(timeout=120)
    assert service.returncode == 75
    (line,) = told.splitlines()
    assert "weights of amazon/chronos-bolt-tiny: " in line
