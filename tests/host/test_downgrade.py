"""An operator goes back to the version before, beside TDgpt: by dpkg, then by apt, with docs/operations.md's words."""

from __future__ import annotations

import json
import math
import re

import pytest
from host import tdgpt
from host.conftest import ROOT, VERSIONS, Host
from host.container import until
from host.tdgpt import G2, SAMPLES, TREE, inside
from host.test_registration import ask, listed, sql

INI = "/etc/taos/tsfm.ini"
PORT = 7076
# What `apt install taos-tsfm` brings, with itself: each asks for the others in exactly its own version.
NAMES = [f"taos-tsfm{part}" for part in ("", "-core", "-runtime", "-fracast", "-timemoe", "-tdtsfm")]
OPERATORS = f"# the operator's own words\n[fracast]\nport = {PORT}\nmax_horizon = 48\n"
OLDER, NEWER = VERSIONS["v1"], VERSIONS["v2"]


def apt(host: Host, words: str) -> str:
    return host.out(f"apt-get -q -y -o Dpkg::Use-Pty=0 {words}")


def documented(command: str) -> str:
    """The arguments that the document gives to this command, with the older version's number."""
    lines = (ROOT / "docs/operations.md").read_text().splitlines()
    (found,) = (line for line in lines if line.startswith(f"{command} "))
    return re.sub(r"\d+\.\d+\.\d+-1", f"{OLDER}-1", found.removeprefix(command))


def pids(host: Host) -> list[str]:
    return [host.show(unit, "MainPID") for unit in ("tsfm@fracast", "taosanoded")]


def registered(host: Host) -> bool:
    """TDgpt's file has our block once, with the operator's port, and nobody writes it any more."""
    config = inside(host, G2).read_text()
    line = f"fracast = http://127.0.0.1:{PORT}/ds_predict"
    once = [config.count(words) for words in ("# >>> tsfm >>>", line, "# <<< tsfm <<<")] == [1, 1, 1]
    return once and host.show("tsfm-register.service", "ActiveState") == "inactive"


def forecasts(host: Host, version: str) -> None:
    """This version runs with the operator's settings, over HTTP and from SQL."""

    def ready() -> bool:
        status, body = host.get(PORT, "/v1/models")
        if status != 200:
            return False
        (model,) = json.loads(body)["models"]
        return (model["version"], model["state"], model["limits"]["max_horizon"]) == (version, "ready", 48)

    until(ready, 120, lambda: host.run("systemctl status --lines 30 tsfm@fracast", check=False).stdout)
    until(lambda: listed(host).get("fracast") == "ready", 60, lambda: str(listed(host)))
    answer = ask(host, "/forecast", sql("algo=fracast,rows=24"))
    assert answer["rows"] == 24, answer
    truth = [10 + 3 * math.sin(i / 4) for i in range(96, 120)]
    assert max(abs(a - b) for a, b in zip(answer["res"][1], truth, strict=True)) < 1.5


def in_order(host: Host, version: str) -> None:
    """All is installed in this version, and what belongs to the operator or to TDgpt is as it was."""
    assert host.out("dpkg --audit") == ""
    found = host.out(f"dpkg-query --show --showformat '${{db:Status-Status}} ${{Version}}\\n' {' '.join(NAMES)}")
    assert set(found.splitlines()) == {f"installed {version}-1"}
    assert inside(host, INI).read_text() == OPERATORS
    assert host.out("systemctl is-enabled tsfm@fracast tsfm.target tsfm-register.path").split() == ["enabled"] * 3
    for file in ("tsfm/fracast-server.py", "lib/taosanalytics/algo/fc/fracast.py"):
        assert inside(host, f"{TREE}/{file}").exists()
    until(lambda: registered(host), 60, lambda: inside(host, G2).read_text())
    done = host.run("tsfm doctor", check=False)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def newer(host: Host) -> str:
    """The newer version's packages; its settings file tells of a key that the older one's does not."""
    host.out("mkdir /srv/newer && cp /srv/v2/*.deb /srv/newer")
    host.out("dpkg-deb --raw-extract /srv/newer/taos-tsfm-core_*.deb /srv/core && rm /srv/newer/taos-tsfm-core_*.deb")
    host.write(f"/srv/core{INI}", inside(host, f"/srv/core{INI}").read_text() + "\n# Of the newer one.\n#newest = 1\n")
    host.out("dpkg-deb --build --root-owner-group /srv/core /srv/newer")
    return " ".join(f"/srv/newer/{name}_*.deb" for name in NAMES)


def test_the_newer_version_runs_with_the_operators_settings_beside_tdgpt(host: Host, newer: str) -> None:
    tdgpt.install(host, G2, "g2.ini")
    host.out(f"systemctl start taosanoded && dpkg --install /srv/v1/taos-tsfm-python_*.deb {newer}")
    assert "#newest = 1" in inside(host, INI).read_text()
    host.write(INI, OPERATORS)
    host.out("systemctl enable --now tsfm@fracast")
    until(lambda: registered(host), 60, lambda: inside(host, G2).read_text())
    # However busy the host was, from here on TDgpt knows the port.
    host.out("systemctl restart taosanoded")
    forecasts(host, NEWER)
    in_order(host, NEWER)


def test_dpkg_installs_the_older_version_over_it(host: Host) -> None:
    service, anode = pids(host)
    said = host.out(f"cd /srv/v1 && bash -c 'dpkg -i {documented('dpkg -i')}'")
    for name in NAMES:
        assert f"downgrading {name} from {NEWER}-1 to {OLDER}-1" in said
    forecasts(host, OLDER)
    in_order(host, OLDER)
    # The service is another process; for TDgpt nothing has changed, and it was not disturbed.
    assert pids(host)[0] != service
    assert pids(host)[1] == anode


def test_apt_goes_back_as_well_when_all_are_named(host: Host) -> None:
    lines = [f"deb [trusted=yes] file:/srv/{name} ./" for name in VERSIONS]
    host.write("/etc/apt/sources.list.d/tsfm.list", "\n".join(lines) + "\n")
    host.out("apt-get -q update")
    apt(host, "upgrade")
    forecasts(host, NEWER)
    host.out(f"bash -c 'apt-get -q -y -o Dpkg::Use-Pty=0 install {documented('apt install')}'")
    forecasts(host, OLDER)
    in_order(host, OLDER)


def test_a_purge_afterwards_leaves_tdgpts_file_as_it_came(host: Host) -> None:
    apt(host, "purge 'taos-tsfm*'")
    assert inside(host, G2).read_bytes() == (SAMPLES / "g2.ini").read_bytes()
    assert not inside(host, f"{TREE}/tsfm").exists()
    assert sorted(path.name for path in inside(host, "/etc/taos").iterdir()) == ["taosanode.ini"]
