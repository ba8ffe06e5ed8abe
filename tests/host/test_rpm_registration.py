"""One transaction of dnf restarts TDgpt once, however many families it brings or takes."""

from __future__ import annotations

import pytest
from host import tdgpt
from host.conftest import Host
from host.container import until
from host.tdgpt import G4, SAMPLES, inside, starts, until_quiet
from host.test_rpm import dnf, give


@pytest.fixture(scope="module", autouse=True)
def given(host: Host) -> None:
    give(host)
    tdgpt.install(host, G4, "g4.config.py")
    host.out("systemctl start taosanoded")


def ours(host: Host) -> str:
    return inside(host, G4).read_text().partition("# >>> tsfm >>>")[2]


def test_an_installation_alone_restarts_nothing(host: Host) -> None:
    dnf(host, "install taos-tsfm-all")
    until_quiet(host)
    assert inside(host, G4).read_bytes() == (SAMPLES / "g4.config.py").read_bytes()
    assert starts(host) == 1


def test_enabling_five_restarts_it_once(host: Host) -> None:
    host.out(
        "systemctl enable tsfm@fracast tsfm@chronos tsfm@timemoe tsfm@moirai tsfm@moment"
        " && systemctl start tsfm@fracast"
    )
    until(lambda: "moment" in ours(host), 20, lambda: host.out("journalctl --unit tsfm-register.service"))
    until_quiet(host)
    assert starts(host) == 2


def test_an_upgrade_of_all_restarts_nothing(host: Host) -> None:
    dnf(host, "upgrade", "v2")
    until_quiet(host)
    assert starts(host) == 2


def test_three_that_leave_restart_it_once(host: Host) -> None:
    dnf(host, "remove --noautoremove taos-tsfm-chronos taos-tsfm-timemoe taos-tsfm-moment", "v2")
    until(lambda: "chronos" not in ours(host), 30, lambda: host.out("journalctl --unit tsfm-register.service"))
    until_quiet(host)
    assert "moirai" in ours(host)
    assert "moment" not in ours(host)
    assert starts(host) == 3


def test_three_that_come_and_are_enabled_already_restart_it_once(host: Host) -> None:
    host.out("systemctl enable tsfm@chronos tsfm@timemoe tsfm@moment")
    dnf(host, "install taos-tsfm-all", "v2")
    assert "chronos" in ours(host)
    assert "moment" in ours(host)
    until_quiet(host)
    assert starts(host) == 4


def test_a_removal_of_all_restarts_it_once_and_gives_its_file_back(host: Host) -> None:
    dnf(host, "remove 'taos-tsfm*'", "v2")
    assert inside(host, G4).read_bytes() == (SAMPLES / "g4.config.py").read_bytes()
    assert starts(host) == 5
