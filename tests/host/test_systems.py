"""The packages on other releases of Debian, none with a Python, by the README's lines from a signed repository.

One host a release, in this order: from the first installation to purge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Live
from host import repository
from host.conftest import VERSIONS, Host, request
from host.container import BULLSEYE, TRIXIE, Container, System
from host.test_deb import files
from host.test_faults import LOAD, load
from host.unitkeys import UNITS, newer_keys

from tsfm import card

INI = "/etc/taos/tsfm.ini"
PORT = card.read("fracast").port
# The journal's words about a key that systemd does not know; systemd before 246 says "Unknown lvalue".
UNKNOWN = re.compile(r"Unknown (?:key(?: name)?|lvalue) '(\w+)'")


@pytest.fixture(scope="module", params=[BULLSEYE, TRIXIE], ids=lambda system: system.suite)
def system(request: pytest.FixtureRequest) -> System:
    found: System = request.param
    return found


@pytest.fixture(scope="module")
def current(repositories: Path, system: System, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The link to the version that the repository's server gives."""
    link = tmp_path_factory.mktemp(system.suite) / "taos-tsfm"
    link.symlink_to(repositories / "v1")
    return link


@pytest.fixture(scope="module")
def host(current: Path, system: System) -> Iterator[Host]:
    with Container(system=system) as container, repository.served(container, current.parent):
        yield Host(container)


@pytest.fixture(scope="module")
def before(host: Host) -> set[str]:
    return files(host)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """The forecast of this checkout's own code, with the environment for development."""
    live = Live("fracast", "--dtype", "float32", log=tmp_path_factory.mktemp("live") / "log")
    try:
        answer = live.until_ready().post("/ds_predict", request("forecast"))
    finally:
        live.stop()
    assert answer.status == 200
    found: dict[str, list[float]] = answer.json
    return found


def warnings(host: Host) -> list[str]:
    """What systemd itself warns of our units."""
    said = host.out("journalctl --quiet --output cat --priority warning SYSLOG_IDENTIFIER=systemd")
    return [line for line in said.splitlines() if "tsfm" in line]


def test_the_readmes_lines_install_it_where_no_python_is(host: Host, before: set[str]) -> None:
    assert before
    assert host.run("command -v python3 || command -v python", check=False).stdout == ""
    host.out("mkdir -p /root/here")
    for line in repository.documented("README.md", "## Install"):
        host.out(f"cd /root/here && {line.replace('apt install', 'apt-get -q -y install')}")
    assert host.out("dpkg --audit") == ""
    assert host.out("systemctl is-enabled tsfm@fracast tsfm.target").split() == ["enabled", "enabled"]
    assert host.run("command -v python3 || command -v python", check=False).stdout == ""


def test_the_forecast_is_that_of_the_checkout(host: Host, expected: dict[str, list[float]]) -> None:
    host.write(INI, "[fracast]\ndtype = float32\n")
    host.out("systemctl restart tsfm@fracast")
    assert host.model("fracast")["version"] == VERSIONS["v1"]
    answer = host.ask("fracast")
    for name in ("output", "lower", "upper"):
        assert answer[name] == pytest.approx(expected[name], rel=1e-4), name


def test_the_journal_tells_of_the_start_and_warns_of_nothing(host: Host) -> None:
    said = host.out("journalctl --unit tsfm@fracast")
    assert f"fracast {VERSIONS['v1']} listens on http://127.0.0.1:{PORT}" in said
    assert host.out("journalctl --quiet --unit tsfm@fracast --priority warning") == ""
    assert warnings(host) == []


def test_on_the_oldest_systemd_keys_are_unknown_and_nothing_else_is_lost(
    host: Host, expected: dict[str, list[float]]
) -> None:
    """The unit as the oldest systemd reads it: every key that came later is one that this systemd does not know."""
    text = (UNITS / "tsfm@.service").read_text()
    lost = sorted(newer_keys("tsfm@.service"))
    for key in lost:
        text = re.sub(rf"^{key}=", f"Later{key}=", text, flags=re.MULTILINE)
    host.write("/etc/systemd/system/tsfm@.service", text)
    host.out("systemctl daemon-reload && systemctl restart tsfm@fracast")
    assert host.ask("fracast")["output"] == pytest.approx(expected["output"], rel=1e-4)
    said = warnings(host)
    assert all(UNKNOWN.search(line) for line in said), said
    assert sorted({found[1].removeprefix("Later") for line in said if (found := UNKNOWN.search(line))}) == lost
    host.out("rm /etc/systemd/system/tsfm@.service && systemctl daemon-reload && systemctl restart tsfm@fracast")


def test_an_upgrade_under_load_refuses_nobody(host: Host, current: Path, repositories: Path) -> None:
    host.write("/srv/load.py", LOAD.read_text())
    first = host.show("tsfm@fracast", "MainPID")
    current.unlink()
    current.symlink_to(repositories / "v2")
    with load(host, PORT, clients=2, python="/usr/lib/taos-tsfm/python/bin/python3.11") as kinds:
        host.out("apt-get -q update && apt-get -q -y -o Dpkg::Use-Pty=0 upgrade")
        host.until_ready("fracast", VERSIONS["v2"])
    # systemd keeps the listening socket: who came in between has waited.
    assert set(kinds) <= {"200", "503"}, kinds
    assert kinds["200"] > 20
    assert host.show("tsfm@fracast", "MainPID") != first
    assert host.out(f"cat {INI}") == "[fracast]\ndtype = float32"
    assert host.out("dpkg --audit") == ""


def test_after_a_removal_nothing_runs_and_settings_stay(host: Host) -> None:
    host.out("apt-get -q -y -o Dpkg::Use-Pty=0 remove taos-tsfm-core taos-tsfm-runtime taos-tsfm-python")
    assert host.out("systemctl list-units --no-legend --state running 'tsfm*'") == ""
    assert host.get(PORT, "/healthz")[0] == 0
    assert not (host.root / "usr/lib/taos-tsfm").exists()
    assert (host.root / INI.lstrip("/")).exists()


def test_a_purge_leaves_nothing(host: Host, before: set[str]) -> None:
    host.out("apt-get -q -y -o Dpkg::Use-Pty=0 purge 'taos-tsfm*'")
    assert sorted(files(host) - before) == []
    assert host.out("dpkg --audit") == ""
    assert host.out("systemctl list-units --all --no-legend 'tsfm*'") == ""
