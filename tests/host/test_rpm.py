"""The rpm packages through installation, start, upgrade and removal, by dnf, on a host without a network.

The host is Debian with Debian's rpm and dnf, as no distribution of the rpm world can be had here from the
machine's own sources. So this proves what the packages hold, their dependencies on one another, their
scripts in rpm's words and order, and that the service runs from them; it does not prove that a given
distribution's systemd and C library fit. What Debian's own packages give is declared in a package of the test's.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from host.conftest import VERSIONS, WORK, Host
from host.container import until

from tsfm import card

GIVEN = """
name: debians-own
arch: all
version: 1.0.0
maintainer: the test
description: what this host's other packages hold
license: Apache-2.0
provides:
  - /bin/sh
  - systemd
  - libc.so.6(GLIBC_2.28)(64bit)
  - libgcc_s.so.1()(64bit)
  - libstdc++.so.6(GLIBCXX_3.4.22)(64bit)
  - libz.so.1()(64bit)
"""


def give(host: Host) -> None:
    """Install the test's package."""
    config = WORK / "given.yaml"
    config.write_text(GIVEN)
    nfpm = str(Path(sys.executable).with_name("nfpm"))
    target = host.root / "srv" / "given.rpm"
    subprocess.run(
        [nfpm, "package", "-p", "rpm", "-f", str(config), "-t", str(target)], check=True, capture_output=True
    )
    host.out("rpm --install /srv/given.rpm")


@pytest.fixture(scope="module", autouse=True)
def given(host: Host) -> None:
    give(host)


def dnf(host: Host, words: str, repository: str = "v1") -> str:
    options = f"-q -y --releasever 12 --repofrompath tsfm,/srv/{repository} --repo tsfm --nogpgcheck"
    return host.out(f"dnf {options} {words}")


def test_dnf_installs_it_by_name_and_starts_nothing(host: Host) -> None:
    dnf(host, "install taos-tsfm")
    assert "taos-tsfm-fracast" in host.out("rpm --query --all")
    assert host.run("systemctl is-active tsfm@fracast", check=False).stdout.strip() == "inactive"
    assert host.out("systemctl is-enabled tsfm.target") == "enabled"
    assert (
        host.run("rpm --verify --nodeps taos-tsfm-core taos-tsfm-fracast taos-tsfm-runtime", check=False).stdout == ""
    )


def test_dnf_installs_a_package_from_its_file(host: Host) -> None:
    dnf(host, "install /srv/v1/taos-tsfm-doc-*.noarch.rpm")
    page = "/usr/share/doc/taos-tsfm/html/index.html"
    assert host.out(f"rpm --query --file {page}").startswith("taos-tsfm-doc-")
    dnf(host, "remove taos-tsfm-doc")
    assert host.run(f"test -e {page}", check=False).returncode == 1


def test_it_starts_and_forecasts(host: Host) -> None:
    host.out("systemctl enable --now tsfm@fracast")
    assert len(host.ask("fracast")["output"]) == 24
    assert host.model("fracast")["version"] == VERSIONS["v1"]


def test_an_upgrade_restarts_what_ran_and_keeps_edited_settings(host: Host) -> None:
    host.write("/etc/taos/tsfm.ini", "[fracast]\nmax_horizon = 48\n")
    dnf(host, "upgrade", "v2")
    host.until_ready("fracast", VERSIONS["v2"])
    assert host.model("fracast")["limits"]["max_horizon"] == 48
    assert host.out("systemctl is-enabled tsfm@fracast") == "enabled"


def test_a_family_comes_and_goes_while_the_others_run(host: Host, give_weights: Callable[[str], None]) -> None:
    dnf(host, "install taos-tsfm-chronos", "v2")
    give_weights("chronos")
    host.out("systemctl start tsfm@chronos")
    assert host.ask("chronos")["status"] == "success"
    fracast = host.show("tsfm@fracast", "MainPID")
    dnf(host, "remove taos-tsfm-chronos", "v2")
    assert host.get(card.read("chronos").port, "/healthz")[0] == 0
    assert host.show("tsfm@fracast", "MainPID") == fracast


def test_a_removal_leaves_only_settings_and_weights(host: Host) -> None:
    dnf(host, "remove 'taos-tsfm*'", "v2")
    until(lambda: host.get(card.read("fracast").port, "/healthz")[0] == 0, 5, lambda: "it still answers")
    left = host.out(
        "find /etc /usr /var/lib -xdev \\( -path '*tsfm*' -o -path '*/taos*' \\) -not -path '*/dnf/*'"
    ).splitlines()
    models = "/var/lib/taos/taosanode/model"
    expected = ("/etc/taos", "/etc/taos/tsfm.ini.rpmsave", "/var/lib/taos", "/var/lib/taos/taosanode", models)
    assert [path for path in left if path not in expected and not path.startswith(f"{models}/chronos")] == []
