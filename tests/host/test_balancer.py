"""The package of the balancer on a real systemd: install, apply, serve, reload, lose a host, upgrade, purge."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from host.conftest import VERSIONS, Host
from host.container import BOOKWORM, Container, until

from tsfm import card

ROOT = Path(__file__).resolve().parents[2]
WITH_HAPROXY = replace(BOOKWORM, include=f"{BOOKWORM.include},haproxy")
ADDRESSES = ("127.0.0.2", "127.0.0.3")
PORT = card.read("naive").port
INI = f"[balancer]\nhosts = {' '.join(ADDRESSES)}\nfamilies = naive\n"
UNIT = "tsfm-balancer.service"
CONFIGURATION = "/etc/taos/tsfm-balancer.cfg"


@pytest.fixture(scope="module")
def host(repositories: Path) -> Iterator[Host]:
    binds = [f"--bind-ro={repositories / name}:/srv/{name}" for name in VERSIONS]
    with Container(*binds, system=WITH_HAPROXY) as container:
        yield Host(container)


@pytest.fixture(scope="module")
def serve(host: Host) -> Iterator[Callable[[str], None]]:
    """Start a service at an address of the container, from this checkout: there the model needs no torch."""
    started = {}

    def start(address: str) -> None:
        command = [sys.executable, "-m", "tsfm", "serve", "naive", "--host", address, "--threads", "1"]
        started[address] = host.container.beside(["env", f"PYTHONPATH={ROOT / 'src'}", *command])
        asked = f"curl -s -o /dev/null -w '%{{http_code}}' http://{address}:{PORT}/readyz"
        until(lambda: host.run(asked, check=False).stdout == "200", 60, lambda: f"{address} is not ready")

    start.processes = started
    yield start
    for process in started.values():
        process.kill()
        process.wait()


def answers(host: Host) -> bool:
    return host.get(PORT, "/readyz")[0] == 200


def test_apt_installs_it_and_starts_nothing(host: Host) -> None:
    host.write("/etc/apt/sources.list.d/tsfm.list", "deb [trusted=yes] file:/srv/v1 ./\n")
    said = host.out("apt-get -q update && apt-get -q -y -o Dpkg::Use-Pty=0 install taos-tsfm-balancer")
    assert "tsfm balancer apply && systemctl enable --now tsfm-balancer" in said
    assert (host.show(UNIT, "ActiveState"), host.show(UNIT, "UnitFileState")) == ("inactive", "disabled")
    assert host.run("tsfm balancer apply", check=False).returncode == 78


def test_it_runs_as_documented(host: Host, serve: Callable[[str], None]) -> None:
    for address in ADDRESSES:
        serve(address)
    host.write("/etc/taos/tsfm.ini", INI)
    host.out("tsfm balancer apply")
    host.out("systemctl enable --now tsfm-balancer")
    until(lambda: answers(host), 20, lambda: host.journal(UNIT))
    assert host.get(PORT, "/ds_predict")[0] == 405
    assert host.ask("naive")["status"] == "success"
    found = {one["about"]: one["level"] for one in json.loads(host.run("tsfm doctor --json", check=False).stdout)}
    assert found["naive"] == "ok"
    rows = json.loads(host.out("tsfm ps --json"))
    assert {(one["host"], one["state"]) for one in rows} == {(address, "ready") for address in ADDRESSES}


def test_its_sandbox_holds_and_its_memory_is_small(host: Host) -> None:
    exposure = host.out(f"systemd-analyze security --no-pager {UNIT}").splitlines()[-1]
    assert float(exposure.split(": ")[1].split()[0]) <= 1.0
    folders = host.processes("tsfm-balanc[e]r.cfg")
    assert {host.out(f"stat --format %U {folder}") for folder in folders} == {"tsfm"}
    sizes = [int(host.out(f"awk '/^Pss:/ {{print $2}}' {folder}/smaps_rollup")) for folder in folders]
    assert len(sizes) == 2  # the master and its worker
    assert sum(sizes) <= 64 << 10, f"{sum(sizes)} KiB"
    assert "EPERM" not in host.journal(UNIT)


def test_a_new_host_is_taken_up_by_a_reload_of_the_same_master(host: Host) -> None:
    before = host.show(UNIT, "MainPID")
    host.write("/etc/taos/tsfm.ini", INI.replace(" ".join(ADDRESSES), ADDRESSES[0]))
    said = host.out("tsfm balancer apply")
    assert "has taken it up" in said
    assert host.show(UNIT, "MainPID") == before
    assert ADDRESSES[1] not in (host.root / CONFIGURATION.lstrip("/")).read_text()
    host.write("/etc/taos/tsfm.ini", INI)
    host.out("tsfm balancer apply")
    assert host.show(UNIT, "MainPID") == before
    assert answers(host)


def test_it_comes_back_after_a_crash_and_without_hosts_the_probe_is_answered(
    host: Host, serve: Callable[[str], None]
) -> None:
    host.out(f"systemctl kill --signal=KILL {UNIT}")
    until(lambda: host.get(PORT, "/ds_predict")[0] == 405, 20, lambda: host.journal(UNIT))
    for process in serve.processes.values():
        process.kill()
        process.wait()
    until(lambda: host.post(PORT, "/ds_predict", {"input": [1.0] * 12})[0] == 503, 20, lambda: host.journal(UNIT))
    assert host.get(PORT, "/ds_predict")[0] == 405
    journal = f"journalctl --quiet --output cat --unit {UNIT}"
    until(lambda: "no server available" in host.out(journal), 20, lambda: host.out(journal))
    # An emergency would be shown on every terminal.
    assert host.out(f"journalctl --quiet --output cat --priority alert --unit {UNIT}") == ""


def test_an_upgrade_keeps_it_running_and_a_purge_leaves_nothing(host: Host) -> None:
    before = host.show(UNIT, "MainPID")
    host.write("/etc/apt/sources.list.d/tsfm.list", "deb [trusted=yes] file:/srv/v2 ./\n")
    host.out("apt-get -q update && apt-get -q -y -o Dpkg::Use-Pty=0 install --reinstall taos-tsfm-balancer")
    assert (host.show(UNIT, "ActiveState"), host.show(UNIT, "MainPID")) == ("active", before)
    host.out("apt-get -q -y -o Dpkg::Use-Pty=0 purge taos-tsfm-balancer")
    assert host.run(f"systemctl cat {UNIT}", check=False).returncode != 0
    assert not (host.root / CONFIGURATION.lstrip("/")).exists()
    assert host.out("find /etc/systemd/system -name 'tsfm-balancer*'") == ""
    assert host.get(PORT, "/ds_predict")[0] == 0
