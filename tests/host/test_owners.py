"""A tree of weights that TDgpt's own user made before us: used as it is, and nothing in it changes hands."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from host import tdgpt
from host.conftest import MODELS, Host
from host.container import until


def facts(host: Host) -> str:
    """Owner, mode and name of everything in the tree."""
    return host.out("find /var/lib/taos -printf '%u:%g %m %p\\n' | sort -k 3")


@pytest.fixture(scope="module")
def before(host: Host, checkpoint: Callable[[str], Path]) -> str:
    """TDgpt, and its folders: one complete, one with a part, one empty."""
    tdgpt.install(host, tdgpt.G2, "g2.ini")
    host.out(f"useradd --system anode && mkdir -p {MODELS}/timemoe {MODELS}/tdtsfm")
    subprocess.run(["cp", "-r", checkpoint("chronos"), host.root / MODELS.lstrip("/") / "chronos"], check=True)
    host.out(f"echo {{}} > {MODELS}/timemoe/config.json")
    host.out("chmod -R u=rwX,g=rX,o=rX /var/lib/taos && chown -R anode:anode /var/lib/taos")
    host.out(f"chmod 700 {MODELS}/tdtsfm")
    host.write("/etc/apt/sources.list.d/tsfm.list", "deb [trusted=yes] file:/srv/v1 ./\n")
    host.out("apt-get -q update")
    return facts(host)


def test_installation_leaves_it_alone(host: Host, before: str) -> None:
    host.out("apt-get -q -y -o Dpkg::Use-Pty=0 install taos-tsfm taos-tsfm-chronos taos-tsfm-moirai")
    assert facts(host) == before


def test_complete_weights_in_it_are_served(host: Host, before: str) -> None:
    host.out("systemctl start tsfm@chronos")
    assert len(host.ask("chronos")["output"]) == 24
    assert facts(host) == before


@pytest.mark.parametrize(("family", "whose"), [("timemoe", f"{MODELS}/timemoe"), ("moirai", MODELS)])
def test_a_download_into_it_is_refused_with_its_owner(host: Host, before: str, family: str, whose: str) -> None:
    host.out(f"systemctl start --no-block tsfm@{family}")
    failed = lambda: host.show(f"tsfm-pull@{family}", "Result") == "exit-code"  # noqa: E731
    until(failed, 60, lambda: host.journal(f"tsfm-pull@{family}"))
    said = host.journal(f"tsfm-pull@{family}")
    assert f"{whose} belongs to anode" in said
    assert f"{whose} belongs to another user: run the command as root" in said
    assert host.waits(f"tsfm@{family}").startswith("waiting: weights of ")
    assert facts(host) == before


def test_an_upgrade_leaves_it_alone(host: Host, before: str) -> None:
    host.write("/etc/apt/sources.list.d/tsfm.list", "deb [trusted=yes] file:/srv/v2 ./\n")
    host.out("apt-get -q update && apt-get -q -y -o Dpkg::Use-Pty=0 upgrade")
    host.until_ready("chronos", "99.0.0")
    assert facts(host) == before


def test_a_purge_leaves_it_alone(host: Host, before: str) -> None:
    host.out("apt-get -q -y -o Dpkg::Use-Pty=0 purge 'taos-tsfm*'")
    assert facts(host) == before
