"""Ask a served model over HTTP, starting one for the occasion where none runs; standard library only."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

from tsfm.card import Card
from tsfm.errors import TsfmError
from tsfm.settings import Settings

START_S = 120
POLL_S = 0.1  # another process's port opens without telling us


def ask(url: str, body: dict[str, object], timeout_s: float) -> dict[str, object]:
    """POST a JSON body and give the JSON answer.

    Raises:
        TsfmError: what the service said was wrong, or that it cannot be reached.
    """
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310  our own URL
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
            fields: dict[str, object] = json.load(answer)
            return fields
    except urllib.error.HTTPError as error:
        raise TsfmError(_sentence(error)) from None
    except OSError as error:
        raise TsfmError(f"{url} does not answer: {getattr(error, 'reason', error)}") from None


def is_ready(base: str) -> bool:
    """Whether the service at ``base`` says that its model answers."""
    try:
        with urllib.request.urlopen(f"{base}/readyz", timeout=5):  # noqa: S310
            return True
    except OSError:
        return False


@contextlib.contextmanager
def running(card: Card, settings: Settings) -> Iterator[str]:
    """The base URL of the family's service; one is started, and stopped at the end, where none is ready."""
    host = "127.0.0.1" if settings.host == "0.0.0.0" else settings.host  # noqa: S104
    base = f"http://{host}:{settings.port or card.port}"
    if is_ready(base):
        yield base
        return
    port = _free_port()
    print(f"no {card.name} answers at {base}: starting one for this forecast", file=sys.stderr)
    command = [sys.executable, "-m", "tsfm", "serve", card.name, "--host", "127.0.0.1", "--port", str(port)]
    for flag, value in (("--model-folder", settings.model_folder), ("--model-name", settings.checkpoint)):
        command += [flag, value] if value else []
    # sys.path and not just PYTHONPATH: the installed command finds its library by itself.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, env=environment) as process:
        try:
            _wait_until_ready(f"http://127.0.0.1:{port}", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait_until_ready(base: str, process: subprocess.Popen[bytes]) -> None:
    pause = threading.Event()
    for _ in range(int(START_S / POLL_S)):
        if process.poll() is not None:
            raise TsfmError("the service ended before it was ready; its reason stands above")
        if is_ready(base):
            return
        pause.wait(POLL_S)
    raise TsfmError(f"the service was not ready after {START_S} s")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _sentence(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code} {error.reason}"
