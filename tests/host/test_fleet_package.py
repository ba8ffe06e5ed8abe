"""The package of the fleet on a real systemd: install, begin, deploy, serve, restart, update without loss, purge."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from host.conftest import VERSIONS, Host, request
from host.container import Container, until

HEAD = "127.0.0.2"  # Ray takes the place of 127.0.0.1 by an address of its own choice
INI = f"[fleet]\naddress = {HEAD}\ncpus = 2\n[fracast]\nthreads = 1\n"
UNIT = "tsfm-fleet-head.service"
NODE = "tsfm-fleet-node.service"


@pytest.fixture(scope="module")
def host(repositories: Path) -> Iterator[Host]:
    binds = [f"--bind-ro={repositories / name}:/srv/{name}" for name in VERSIONS]
    with Container(*binds) as container:
        yield Host(container)


def install(host: Host, version: str, packages: str) -> str:
    host.write("/etc/apt/sources.list.d/tsfm.list", f"deb [trusted=yes] file:/srv/{version} ./\n")
    return host.out(f"apt-get -q update && apt-get -q -y -o Dpkg::Use-Pty=0 --no-install-recommends install {packages}")


def get(host: Host, path: str) -> tuple[int, str]:
    """(status, body) of the node's entry."""
    done = host.run(f"curl -s -w '\\n%{{http_code}}' http://{HEAD}:8000/fracast{path}", check=False)
    body, _, status = done.stdout.strip().rpartition("\n")
    return int(status), body


def serves(host: Host, version: str) -> bool:
    status, body = get(host, "/v1/models")
    return status == 200 and json.loads(body)["models"][0]["version"] == version


def complete(host: Host) -> bool:
    return host.run("tsfm fleet status", check=False).returncode == 0


def seen(host: Host) -> str:
    return host.run(f"tsfm fleet status; journalctl --quiet --no-pager --lines 40 --unit {UNIT}", check=False).stdout


def test_apt_installs_it_and_starts_nothing(host: Host) -> None:
    said = install(host, "v1", "taos-tsfm-fleet taos-tsfm-fracast")
    assert "tsfm fleet init ADDRESS --network NETWORK" in said
    for unit in (UNIT, NODE):
        assert (host.show(unit, "ActiveState"), host.show(unit, "UnitFileState")) == ("inactive", "disabled")
    assert host.run("tsfm fleet apply", check=False).returncode == 78
    assert host.out("stat --format '%U %a' /var/lib/tsfm-fleet") == "tsfm 700"


def test_it_begins_and_serves_as_documented(host: Host) -> None:
    host.write("/etc/taos/tsfm.ini", INI)
    said = host.out(f"tsfm fleet init {HEAD} --network 127.0.0.0/8")
    assert "made; copy it to every node" in said
    assert f"{UNIT} runs, at {HEAD}, with 2 CPUs for replicas" in said
    assert host.out("stat --format '%U %G %a' /etc/taos/tsfm-fleet.token") == "root tsfm 640"
    until(lambda: "fracast on" in host.run("tsfm fleet apply", check=False).stdout, 120, lambda: seen(host))
    until(lambda: complete(host), 120, lambda: seen(host))
    host.write("/srv/request.json", json.dumps(request("forecast")))
    answer = host.out(f"curl -sS --data-binary @/srv/request.json http://{HEAD}:8000/fracast/ds_predict")
    assert json.loads(answer)["status"] == "success"
    assert get(host, "/ds_predict")[0] == 405


def test_its_sandbox_holds(host: Host) -> None:
    exposure = host.out(f"systemd-analyze security --no-pager {UNIT}").splitlines()[-1]
    assert float(exposure.split(": ")[1].split()[0]) <= 1.5
    folders = host.processes("ray[:]:|rayle[t]|gcs_serve[r]|ray_hapro[x]y")
    assert len(folders) > 5
    users = {host.run(f"stat --format %U {folder}", check=False).stdout.strip() for folder in folders}
    assert "tsfm" in users
    assert all(user == "tsfm" or user.startswith("stat: ") for user in users), users  # some have ended
    assert "EPERM" not in host.journal(UNIT)


def test_without_the_token_it_cannot_be_told_anything(host: Host) -> None:
    put = "curl -s -o /dev/null -w '%{http_code}' -X PUT http://127.0.0.1:8265/api/serve/applications/ -d '{}'"
    assert host.out(put) == "401"


def test_a_head_that_was_killed_comes_back_and_goes_on(host: Host) -> None:
    host.out(f"systemctl kill --signal=KILL {UNIT}")
    until(lambda: host.show(UNIT, "NRestarts") != "0", 30, lambda: seen(host))
    until(lambda: complete(host) and get(host, "/readyz")[0] == 200, 120, lambda: seen(host))


def test_an_update_restarts_no_unit_and_apply_replaces_the_replicas(host: Host) -> None:
    before = host.show(UNIT, "MainPID")
    assert serves(host, VERSIONS["v1"])
    said = install(host, "v2", "taos-tsfm-fleet taos-tsfm-fracast")
    assert "on its head: tsfm fleet apply" in said
    assert (host.show(UNIT, "MainPID"), serves(host, VERSIONS["v1"])) == (before, True)
    host.out("tsfm fleet apply")
    until(lambda: serves(host, VERSIONS["v2"]) and complete(host), 120, lambda: seen(host))
    assert host.show(UNIT, "MainPID") == before


def test_it_stops_with_all_that_it_started_and_a_purge_leaves_nothing(host: Host) -> None:
    began = time.monotonic()
    said = host.out("tsfm fleet leave")
    assert time.monotonic() - began < 20
    assert f"{UNIT} is stopped" in said
    assert host.out("find /proc -maxdepth 1 -ignore_readdir_race -user tsfm") == ""
    host.out("apt-get -q -y -o Dpkg::Use-Pty=0 purge taos-tsfm-fleet")
    for path in ("/var/lib/tsfm-fleet", "/etc/taos/tsfm-fleet.token", "/usr/lib/taos-tsfm/fleet"):
        assert not (host.root / path.lstrip("/")).exists()
    assert host.out("find /etc/systemd/system -name '*tsfm-fleet*'") == ""
