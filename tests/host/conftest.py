"""One repository of the packages in two versions, and hosts that live through them. Needs root.

The tests of one file share one host and tell its life in order.
"""

from __future__ import annotations

import csv
import importlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from host import repository
from host.container import Container, until

from tsfm import __version__, card

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "host"
SERIES = ROOT / "src" / "tsfm" / "share" / "nino12.csv"
VERSIONS = {"v1": __version__, "v2": "99.0.0"}
MODELS = "/var/lib/taos/taosanode/model"
FAMILIES = card.names(packaged_only=True)


def pytest_configure() -> None:
    if os.geteuid() != 0:
        raise pytest.UsageError("tests/host boots containers: run it as root")


class Host:
    """A container with the repositories at /srv/v1 and /srv/v2, and what the tests do on it."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.run, self.out, self.root = container.run, container.out, container.root

    def write(self, path: str, text: str) -> None:
        """A file on the host, its folders made."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def show(self, unit: str, what: str) -> str:
        return self.out(f"systemctl show --property {what} --value {unit}")

    def journal(self, unit: str, *options: str) -> str:
        """What the unit and systemd said about it since it was last started."""
        since = f"_SYSTEMD_INVOCATION_ID={self.show(unit, 'InvocationID')}"
        return self.out(f"journalctl --quiet --output cat {' '.join(options)} --unit {unit} {since}")

    def processes(self, pattern: str) -> list[str]:
        """Folders in /proc of the processes whose command matches; a bracket, as in [t]sfm, leaves this search out.

        Others begin and end meanwhile, for which grep gives an error.
        """
        found = self.run(f"grep -slaE '{pattern}' /proc/[0-9]*/cmdline", check=False).stdout.split()
        return [str(Path(name).parent) for name in found]

    def get(self, port: int, path: str) -> tuple[int, str]:
        """(status, body); status 0 when nobody answers."""
        done = self.run(f"curl -s -w '\\n%{{http_code}}' http://127.0.0.1:{port}{path}", check=False)
        body, _, status = done.stdout.strip().rpartition("\n")
        return int(status), body

    def post(self, port: int, path: str, fields: dict[str, object]) -> tuple[int, dict[str, object]]:
        self.write("/srv/request.json", json.dumps(fields))
        kind = "'Content-Type: application/json'"
        url = f"http://127.0.0.1:{port}{path}"
        done = self.out(f"curl -sS -w '\\n%{{http_code}}' -H {kind} --data-binary @/srv/request.json {url}")
        body, _, status = done.rpartition("\n")
        return int(status), json.loads(body)

    def ask(self, family: str, port: int | None = None) -> dict[str, object]:
        """A real series' forecast, or the series with a hole filled, over HTTP."""
        facts = card.read(family)
        status, answer = self.post(port or facts.port, facts.paths[0], request(facts.task))
        assert status == 200, answer
        return answer

    def model(self, family: str) -> dict[str, object]:
        """What GET /v1/models tells of the one model served."""
        status, body = self.get(card.read(family).port, "/v1/models")
        return json.loads(body)["models"][0] if status == 200 else {}

    def until_ready(self, family: str, version: str | None = None, limit_s: int = 120) -> None:
        """Restarts are not waited for by who asked for them: wait here."""

        def ready() -> bool:
            model = self.model(family)
            return model.get("state") == "ready" and model.get("version") == (version or model["version"])

        until(ready, limit_s, lambda: self.run(f"systemctl status --lines 30 tsfm@{family}", check=False).stdout)

    def waits(self, unit: str) -> str:
        """Start a unit that must wait for something; gives the sentence of its status, and stops it."""
        self.out(f"systemctl start --no-block {unit}")
        said = lambda: self.show(unit, "StatusText")  # noqa: E731
        until(
            lambda: said().startswith("waiting: "), 60, lambda: self.run(f"systemctl status {unit}", check=False).stdout
        )
        sentence = said()
        self.out(f"systemctl stop {unit}")
        return sentence

    def refused(self, unit: str) -> str:
        """Start a unit that must refuse for good; gives the error lines it left in the journal."""
        assert self.run(f"systemctl start {unit}", check=False).returncode != 0
        assert self.show(unit, "ExecMainStatus") == "78"
        assert self.show(unit, "NRestarts") == "0"
        assert self.show(unit, "ActiveState") == "failed"
        said = self.journal(unit, "--priority err")
        self.out(f"systemctl reset-failed {unit}")
        return said


def request(task: str) -> dict[str, object]:
    with SERIES.open() as file:
        values = [float(row["celsius"]) for row in csv.DictReader(file)][-240:]
    if task == "forecast":
        return {"input": values, "next_len": 24}
    day_ms = 86_400_000
    times = [day_ms * i for i in range(len(values)) if i % 10 != 5]
    return {"input": values[: len(times)], "ts": times, "precision": "ms", "freq": "1D"}


@pytest.fixture(scope="session")
def repositories() -> Path:
    """The folder that holds v1 and v2, signed with one key: v1 made by `make release`, v2 by `make repo`.

    With TSFM_HOST_KEEP=1 those of the last run are taken: for work on the tests themselves.
    """
    if os.environ.get("TSFM_HOST_KEEP") == "1":
        return WORK
    with repository.key() as key:
        signed = [f"SIGN_KEY={key.fingerprint}", f"REPO_URL={repository.URL}", "TRIAL=yes"]
        for target, (name, version) in zip(("release", "repo"), VERSIONS.items(), strict=True):
            folder = WORK / name
            subprocess.run(["rm", "-rf", str(folder)], check=True)
            command = ["make", "-s", target, f"OUT={folder}", f"VERSION={version}", *signed]
            subprocess.run(command, cwd=ROOT, env=key.environment, check=True)
    return WORK


@pytest.fixture(scope="module")
def host(repositories: Path) -> Iterator[Host]:
    """A booted host that can reach the repositories and nothing else."""
    binds = [f"--bind-ro={repositories / name}:/srv/{name}" for name in VERSIONS]
    with Container(*binds) as container:
        yield Host(container)


@pytest.fixture(scope="session")
def checkpoint() -> Callable[[str], Path]:
    """Makes a family's small random checkpoint in the official format; gives its folder."""

    def make(family: str) -> Path:
        folder = WORK / "checkpoints" / family
        if not folder.is_dir():
            importlib.import_module(f"checkpoints.{family}").make(folder)
        return folder

    return make


@pytest.fixture
def give_weights(host: Host, checkpoint: Callable[[str], Path]) -> Callable[[str], None]:
    """Lays a family's checkpoint where the service looks for it."""

    def give(family: str) -> None:
        if card.read(family).checkpoints:
            target = host.root / MODELS.lstrip("/") / family
            subprocess.run(["cp", "-r", "--no-target-directory", checkpoint(family), target], check=True)
            subprocess.run(["chmod", "-R", "a+rX", target], check=True)

    return give
