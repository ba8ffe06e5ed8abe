"""The process of Ray on one host: its environment, its ports and its arguments."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import tsfm
from tsfm import card, paths, settings
from tsfm.errors import ConfigError, TsfmError
from tsfm.fleet.applications import resource
from tsfm.fleet.cluster import Fleet
from tsfm.system import handover, preload
from tsfm.weights import checkpoints

# Of the unit. It is short: a socket's path has at most 97 characters, and Ray adds 70.
RUN = Path(os.environ.get("RUNTIME_DIRECTORY") or "/run/tsfm-fleet")
STATE = paths.ROOT / "var/lib/tsfm-fleet"
HEAD_PORT, DASHBOARD_PORT = 6379, 8265
OBJECT_STORE = 80_000_000  # bytes; Serve moves none of ours through it
LOG_BYTES, LOG_FILES = 1_000_000, 1  # of each process, in RUN, which is in memory
# Those of every node; a head has HEAD_PORT, DASHBOARD_PORT on loopback, and the port of Ray's clients beside.
PORTS = {
    "node-manager-port": 6380,
    "object-manager-port": 6381,
    "runtime-env-agent-port": 6382,
    "dashboard-agent-grpc-port": 6383,
    "dashboard-agent-listen-port": 6384,
    "metrics-export-port": 6385,
    "min-worker-port": 6400,
    "max-worker-port": 6499,
}


def environment(fleet: Fleet) -> dict[str, str]:
    """The variables of every process of Ray's on this host."""
    return {
        **preload.TORCH,
        "PYTHONPATH": str(Path(tsfm.__file__).parent.parent),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HF_HUB_OFFLINE": "1",
        "HOME": str(STATE),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Nobody reads Ray's figures; a replica has those of the service.
        "RAY_ENABLE_OPEN_TELEMETRY": "0",
        "RAY_enable_metrics_collection": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(fleet.token_file),
        # Ray's default is 15, which loses against everything else on the host.
        "RAY_worker_niceness": "0",
        # The head's memory: the fleet outlives its head, and a head that starts again reads it.
        "RAY_gcs_storage": "rocksdb",
        "RAY_gcs_storage_path": str(STATE / "gcs"),
        "RAY_gcs_rpc_server_reconnect_timeout_s": "86400",
        "RAY_ROTATION_MAX_BYTES": str(LOG_BYTES),
        "RAY_ROTATION_BACKUP_COUNT": str(LOG_FILES),
        **_serve(fleet),
    }


def _serve(fleet: Fleet) -> dict[str, str]:
    """Ray Serve with haproxy before the replicas' own ports: with its own proxies a request costs 6 to 9 ms of CPU."""
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        # Seconds between two looks of the controller at everything: ten a second take a twentieth of a CPU.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "tsfm.fleet.direct:middlewares",
        # Else haproxy tells a Python process of each request: 0.1 ms of a CPU.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        # A forecast changes nothing, so it may be asked twice.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_HAPROXY_RETRIES": "1",
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(128 << 10),
        # A request takes it 0.11 ms of a CPU; another thread would take more from the models.
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        # A socket that nobody makes: Ray's haproxy would send a line of each request to the host's syslog.
        "RAY_SERVE_HAPROXY_LOG_TARGET": str(RUN / "no-log.sock"),
        "RAY_SERVE_HAPROXY_TIMEOUT_CONNECT_S": "1",
        # A replica says 504 at its deadline, the balancer 5 s later; then it is this one's turn.
        "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": str(fleet.deadline_s + 10),
        "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "1s",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(RUN / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(RUN / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(RUN),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(RUN / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(RUN / "metrics.sock"),
        # A replica that is to end waits so long, for haproxies that still send to it; they know within a second.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "10",
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "3",
        "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1",
    }


def arguments(fleet: Fleet, families: Mapping[str, str]) -> list[str]:
    """The words of `ray start` on this host.

    Args:
        families: those that it can serve, as ``able`` gives them: those with an empty reason.
    """
    resources = {resource(name): 1 for name, lacking in families.items() if not lacking}
    where = ["--address", f"{fleet.head}:{HEAD_PORT}"]
    if fleet.is_head:
        where = ["--head", "--port", str(HEAD_PORT), "--ray-client-server-port", "10001"]
        where += ["--dashboard-host", "127.0.0.1", "--dashboard-port", str(DASHBOARD_PORT)]
    ports = [word for name, port in PORTS.items() for word in (f"--{name}", str(port))]
    return [
        "start", "--block", *where, "--disable-usage-stats", "--node-ip-address", fleet.address,
        "--num-cpus", str(fleet.cpus), "--resources", json.dumps(resources), "--temp-dir", str(RUN),
        "--object-store-memory", str(OBJECT_STORE), "--include-log-monitor", "false", *ports,
    ]  # fmt: skip


def able(fleet: Fleet) -> dict[str, str]:
    """Why this host cannot serve each family that is installed or named; empty: it can."""
    found = {}
    for name in sorted({*fleet.families, *paths.installed_families()} & set(card.names())):
        try:
            _weights(fleet, name)
            found[name] = ""
        except TsfmError as error:
            found[name] = str(error)
    return found


def _weights(fleet: Fleet, family: str) -> None:
    if paths.VENVS.is_dir() and card.read(family).packaged and family not in paths.installed_families():
        raise ConfigError(f"the package {paths.package(family)} is not installed")
    chosen = fleet.families.get(family) or settings.read(family, {}, fleet.file)
    checkpoints.resolve(card.read(family), chosen.model_folder, chosen.checkpoint)


def version() -> str:
    """Of the Ray that is installed.

    Raises:
        ConfigError: none is.
    """
    found = sorted((paths.FLEET / "lib/python3.11/site-packages").glob("ray-*.dist-info"))
    if not (found and (paths.FLEET / "bin/python").exists()):
        raise ConfigError(f"{paths.FLEET}: not installed; install the package taos-tsfm-fleet")
    return found[0].name.removeprefix("ray-").removesuffix(".dist-info")


def enter(fleet: Fleet, words: Sequence[str]) -> None:
    """Continue the same command with Ray's environment, as one of the fleet; return at once in there.

    Raises:
        ConfigError: the package is not installed, or the token is not there.
    """
    version()
    fleet.token()
    os.environ.update(environment(fleet) | {"RAY_ADDRESS": f"{fleet.head}:{HEAD_PORT}"})
    handover.enter(paths.FLEET / "bin/python", words)


def start(fleet: Fleet, families: Mapping[str, str]) -> None:
    """Become Ray's process.

    Raises:
        ConfigError: the package is not installed, or the token is not there.
    """
    fleet.token()
    present = version()
    try:
        (STATE / "gcs").mkdir(parents=True, exist_ok=True)
        RUN.mkdir(exist_ok=True)
        (RUN / "ray-version").write_text(present)  # for the package: another Ray does not go with processes of this one
    except OSError as error:
        raise ConfigError(
            f"{error.filename}: cannot be written: {error.strerror}; the units run as the user tsfm"
        ) from None
    python = paths.FLEET / "bin/python"
    words = [str(python), "-B", "-m", "ray.scripts.scripts", *arguments(fleet, families)]
    os.execve(python, words, os.environ | environment(fleet))  # noqa: S606
