"""The service process: bind, load, serve, notify systemd, drain on SIGTERM."""

from __future__ import annotations

import errno
import logging
import resource
import signal
import socket
import threading
from pathlib import Path

from tsfm import __version__
from tsfm.card import Card
from tsfm.engine.engine import Engine
from tsfm.errors import ConfigError, TsfmError
from tsfm.http import auth, lifecycle
from tsfm.http.app import create_app
from tsfm.http.transport.listener import Bounds, listen
from tsfm.http.transport.loop import Listener
from tsfm.settings import Settings, authority
from tsfm.system import ports
from tsfm.system.fdstore import hand_over, take_over
from tsfm.system.systemd import keep_watchdog_fed, notify
from tsfm.weights import checkpoints

log = logging.getLogger(__name__)
# Seconds of the last part of the drain, in which clients read their answers.
FLUSH_S = 5
# File descriptors reserved for weights, libraries and threads; the rest of the limit is for connections.
FILES_OF_OUR_OWN = 100


def serve(card: Card, settings: Settings) -> int:
    """Serve one family until SIGTERM or SIGINT, and return the exit code.

    Raises:
        ConfigError: the service cannot listen on the port, or the weights are missing or wrong.
    """
    folder = checkpoints.resolve(card, settings.model_folder, settings.checkpoint)
    return Process(card, settings, folder).run()


class Process:
    """One served family with its sockets, signals and threads."""

    def __init__(self, card: Card, settings: Settings, folder: Path | None) -> None:
        self._card = card
        self._settings = settings
        self._folder = folder
        self._engine = Engine(card, settings)
        self._stopping = threading.Event()
        self._signals, self._signalled = socket.socketpair()
        self._failure: TsfmError | None = None
        access = auth.rules(settings)
        if access:
            access.on_refusal = self._engine.count
        self._server = self._bind(access)

    def run(self) -> int:
        """Serve requests. The socket answers at once; the model answers when it is loaded."""
        threading.Thread(target=self._drain, name="drain", daemon=True).start()
        self._signalled.setblocking(False)
        signal.set_wakeup_fd(self._signalled.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            # The handler takes no lock, because the interrupted code may hold it. Python writes the signal's number to
            # the socket, and the drain starts on its own thread.
            signal.signal(number, lambda number, frame: self._engine.stop_accepting())
        threading.Thread(target=self._load, name="load", daemon=True).start()
        self._server.run()
        if self._failure:
            raise self._failure
        log.info("stopped")
        return 0

    def _bind(self, access: auth.Access | None) -> Listener:
        settings, port = self._settings, self._settings.port or self._card.port
        bounds = Bounds(_connection_limit(settings.queue), settings.max_body_mib << 20, settings.queue_mib << 20)
        app, ingress = create_app(self._engine), self._engine.ingress
        try:
            inherited = take_over(settings.host, port)
            server = listen(app, ingress, access, bounds, (settings.host, port), inherited)
        except OSError as error:
            raise ConfigError(_why_not_bound(settings.host, port, error)) from error
        if not inherited:
            hand_over(server.socket)
        log.info("%s %s listens on http://%s", self._card.name, __version__, authority(settings.host, port))
        return server

    def _load(self) -> None:
        notify(f"STATUS=loading {self._card.name}")
        try:
            lifecycle.load(self._engine, self._card, self._settings, self._folder)
            notify("READY=1", f"STATUS=serving {self._engine.summary()}")
            keep_watchdog_fed(self._healthy, self._stopping)
        except TsfmError as error:
            self._fail(error)

    def _healthy(self) -> bool:
        return self._engine.healthy() and self._server.healthy(self._settings.stall_s)

    def _fail(self, error: TsfmError) -> None:
        self._failure = error
        self._server.end()

    def _drain(self) -> None:
        """Wait for the first signal, answer the accepted requests, then end the loop; runs on its own thread."""
        (number,) = self._signals.recv(1)
        self._stopping.set()
        log.info("%s: answering what was accepted, then stopping", signal.Signals(number).name)
        notify("STOPPING=1", "STATUS=answering what was accepted")
        try:
            if lifecycle.drain(self._engine):
                self._server.drain(FLUSH_S)
        finally:
            self._server.end()


def _connection_limit(queue: int) -> int:
    """Maximum number of connections that the file descriptors allow; further clients wait until one closes."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(10, min(queue + 1000, most - FILES_OF_OUR_OWN))


def _why_not_bound(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = ports.holder(port)
        return f"port {port} is in use" + (f" by {holder}" if holder else "") + "; stop it or set another port"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"port {port}: this user may not listen on it; choose one from 1024 up"
    return f"cannot listen on {authority(host, port)}: {error.strerror or error}"
