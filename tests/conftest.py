"""Fixtures for all tests: the makers of checkpoints on the path, and real services on loopback."""

from __future__ import annotations

import gc
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from tsfm.official import load as load_official
from tsfm.series import Model, Runtime

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # checkpoints/<family>.py and bench are shared by tests and benchmarks
os.environ["HF_HUB_OFFLINE"] = "1"
# Idle OpenMP threads that spin take the CPUs from whatever else runs; set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# pytest-xdist runs one process a CPU: each of them, and what it starts, computes on one thread.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
if WORKERS > 1:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TSFM_INI"] = "/nonexistent/tsfm.ini"  # never the settings of the host that runs the tests

pytest_plugins = ["tdgpt.host"]  # a host of our own, for the registration and for the commands about it

# The machine may be busy: how long an example takes says nothing of the code.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


# What compares with the makers' packages, which take seconds to import.
MAKERS = (
    "tests/families/",
    "tests/official/test_adapters.py",
    "tests/engine/test_joint.py",
    "tests/numerics/test_covariates.py",
)
# The files that take longest, the longest first: a worker that began one of them last would run on alone at the end.
LONGEST = (
    "families/test_moirai.py",  # and with it what else has the makers' packages
    "http/test_server.py",
    "cli/commands/test_forecast.py",
    "weights/test_download.py",
    "weights/test_safe_path.py",
    "http/transport/test_loop.py",
    "http/test_auth.py",
    "http/test_v1.py",
    "http/test_bodies.py",
    "http/test_promises.py",
    "numerics/test_conformal.py",
    "weights/test_recognise.py",
    "cli/commands/test_doctor.py",
    "cli/commands/test_ps.py",
    "http/test_page.py",
    "cli/commands/test_backtest.py",
    "nets/test_torch_contract.py",
    "weights/test_own.py",
    "tdgpt/test_templates.py",
    # of those that are long
    "test_bench.py",
    "fleet/test_replica.py",
    "fleet/test_actors.py",
    "official/test_service.py",
    "http/test_asgi.py",
    "cli/commands/test_compare.py",
    "http/test_openapi.py",
    "http/transport/test_hostile.py",
    "tdgpt/test_sql_to_service.py",
)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported here stays: looking through all of torch for garbage would take a tenth of the time."""
    gc.disable()
    collected = yield
    gc.freeze()
    gc.enable()
    return collected


class Shares(LoadFileScheduling):
    """Each file is one process's share, but for those with the makers' packages: one process alone imports them."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "makers" if file.startswith(MAKERS) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Shares:
    return Shares(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; the other ones, and the tests of a file, keep their order."""
    turns = {HERE / name: turn for turn, name in enumerate(LONGEST)}
    items.sort(key=lambda item: turns.get(item.path, len(turns)))


# What tests ask is on this host: never through a proxy of the environment.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Answer:
    """An HTTP answer, whatever its status."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict:
        return orjson.loads(self.body)


class Live:
    """A `tsfm serve` process on a port of its own. In ``with``, it is ready, and has to end well."""

    address = "127.0.0.1"

    def __init__(
        self, family: str, *options: str, log: Path, env: dict[str, str] | None = None, forked: bool = False
    ) -> None:
        """``forked``: from a process that has imported torch, where it does not matter how a service comes to it."""
        self.port = free_port()
        self.log = log
        arguments = ["-m", "tsfm", "serve", family, "--port", str(self.port), *options]
        environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src")} | (env or {})
        with log.open("wb") as stderr:
            if forked:
                from forked import Forked  # on the path by now

                self.process = Forked(arguments, environment, stderr=stderr.fileno())
            else:
                self.process = subprocess.Popen([sys.executable, *arguments], env=environment, stderr=stderr)

    def __enter__(self) -> Live:
        try:
            return self.until_ready()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        status = self.stop()
        if kind is None:
            assert status == 0
            assert "Traceback" not in self.log.read_text()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, timeout: float = 60, headers: dict[str, str] | None = None) -> Answer:
        return self._send(urllib.request.Request(self.url + path, headers=headers or {}), timeout)

    def post(self, path: str, body: object, timeout: float = 60, headers: dict[str, str] | None = None) -> Answer:
        data = body if isinstance(body, bytes) else orjson.dumps(body, default=lambda value: value.tolist())
        said = {"Content-Type": "application/json"} | (headers or {})
        return self._send(urllib.request.Request(self.url + path, data, said), timeout)

    def until_ready(self, limit_s: float = 120) -> Live:
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode}: {self.log.read_text()}")
            try:
                if self.get("/readyz").status == 200:
                    return self
            except OSError:
                pass  # not bound yet
            threading.Event().wait(0.05)
        raise AssertionError(f"not ready after {limit_s} s: {self.log.read_text()}")

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def _send(self, request: urllib.request.Request, timeout: float) -> Answer:
        try:
            with DIRECT.open(request, timeout=timeout) as reply:
                return Answer(reply.status, dict(reply.headers), reply.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), error.read())


def to_the_end(client: socket.socket) -> bytes:
    """What the peer sends until the connection ends; TimeoutError if it does not."""
    got = b""
    with suppress(ConnectionResetError):
        while data := client.recv(1 << 20):
            got += data
    return got


def free_port() -> int:
    """A port that nobody else takes before it is used.

    It lies below the ephemeral ports, which any connection on this host may take at any time, and each process of
    pytest-xdist has its own share.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000 // WORKERS) * WORKERS + WORKER
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the small checkpoint of the maker that the test module imports as ``checkpoint``."""
    path = tmp_path_factory.mktemp("checkpoint")
    request.module.checkpoint.make(path)
    return path


@pytest.fixture(scope="module")
def official(request: pytest.FixtureRequest, folder: Path) -> Model:
    """The package of the checkpoint's maker, with the checkpoint in ``folder``."""
    family = request.module.checkpoint.__name__.rpartition(".")[2]
    return load_official(family, folder, Runtime(dtype="float32"))


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Live]]:
    """Start services; what still runs at the end of the test is stopped."""
    started: list[Live] = []

    def start(family: str, *options: str, env: dict[str, str] | None = None, forked: bool = False) -> Live:
        log = tmp_path / f"{family}-{len(started)}.log"
        started.append(Live(family, *options, log=log, env=env, forked=forked))
        return started[-1]

    yield start
    for live in started:
        live.stop()
