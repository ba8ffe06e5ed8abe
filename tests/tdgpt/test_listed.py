"""SQL lists what is enabled: a unit's link brings a family in, and takes it out when it goes."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest
from anode import configuration

from tdgpt.host import Host
from tsfm.tdgpt import packages, reconcile

URL = "http://127.0.0.1:6076/ds_predict"


@pytest.fixture
def config(host: Host) -> Path:
    """TDgpt's file on a host with systemd, where fracast and chronos are installed and not enabled."""
    made = host.tdgpt("G2")
    (host.root / "run/systemd/system").mkdir(parents=True)
    host.install("fracast", "chronos")
    host.disable("fracast")
    host.disable("chronos")
    return made


def test_what_is_only_installed_is_not_listed_but_has_its_script(host: Host, config: Path) -> None:
    before = config.read_bytes()
    outcome = reconcile.register()
    assert config.read_bytes() == before
    assert not outcome.stale
    assert (host.scripts / "fracast-server.py").exists()


def test_enabling_brings_it_in_and_disabling_takes_it_out(host: Host, config: Path) -> None:
    before = config.read_bytes()
    host.enable("fracast")
    assert reconcile.register().stale
    assert configuration.service(config, "fracast") == URL
    assert "6038" not in config.read_text().partition("# >>> tsfm >>>")[2].partition("# <<< tsfm <<<")[0]
    assert not reconcile.register().done
    host.disable("fracast")
    assert reconcile.register().stale
    assert "fracast" not in config.read_text()
    reconcile.unregister()
    assert config.read_bytes() == before


@pytest.mark.parametrize(
    "folder",
    [
        "etc/systemd/system/multi-user.target.wants",
        "run/systemd/system/tsfm.target.wants",
        "usr/lib/systemd/system/tsfm.target.wants",
        "etc/systemd/system/x.service.requires",
    ],
)
def test_whatever_starts_the_unit_enables_it(host: Host, config: Path, folder: str) -> None:
    (host.root / folder).mkdir(parents=True)
    (host.root / folder / "tsfm@fracast.service").symlink_to("/usr/lib/systemd/system/tsfm@.service")
    reconcile.register()
    assert configuration.service(config, "fracast") == URL


def test_the_settings_beat_the_units(host: Host, config: Path) -> None:
    host.enable("fracast")
    host.settings.write_text("[fracast]\nregister = no\n[chronos]\nregister = yes\n")
    reconcile.register()
    assert configuration.service(config, "chronos") == "http://127.0.0.1:6038/ds_predict"
    assert "fracast" not in config.read_text()


def test_without_systemd_every_installed_family_is_listed(host: Host, config: Path) -> None:
    (host.root / "run/systemd/system").rmdir()
    reconcile.register()
    assert configuration.service(config, "fracast") == URL
    assert configuration.service(config, "chronos") == "http://127.0.0.1:6038/ds_predict"


def test_one_named_by_hand_is_registered_and_told_how_to_stay(host: Host, config: Path) -> None:
    done = host.tsfm("register", "fracast", "--no-restart", "--no-update")
    assert done.returncode == 0
    assert configuration.service(config, "fracast") == URL
    assert "to keep it: systemctl enable tsfm@fracast, or register = yes in [fracast] of tsfm.ini" in done.stderr


@pytest.mark.parametrize(("name", "said"), [("moment", "install taos-tsfm-moment"), ("fracst", "expected one of")])
def test_one_that_is_not_here_cannot_be_registered(host: Host, config: Path, name: str, said: str) -> None:
    before = config.read_bytes()
    done = host.tsfm("register", name)
    assert done.returncode == 78
    assert said in done.stderr
    assert config.read_bytes() == before


HOLD = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    "lock", ["var/lib/dpkg/lock-frontend", "var/lib/rpm/.rpm.lock", "usr/lib/sysimage/rpm/.rpm.lock"]
)
def test_a_package_manager_at_work_is_waited_for(host: Host, config: Path, lock: str) -> None:
    path = host.root / lock
    path.parent.mkdir(parents=True)
    path.touch()
    assert not packages.is_running()
    host.enable("fracast")
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=-1, stdout=-1) as holder:
        assert holder.stdout
        assert holder.stdin
        assert holder.stdout.readline() == b"held\n"
        assert packages.is_running()
        holder.stdin.close()
        assert host.tsfm("register", "--after-packages", "--no-restart", "--no-update").returncode == 0
        assert holder.wait(30) == 0
    assert configuration.service(config, "fracast") == URL


def test_asking_does_not_take_the_package_managers_lock(host: Host) -> None:
    path = host.root / "var/lib/dpkg/lock"
    path.parent.mkdir(parents=True)
    with path.open("w") as file:
        assert not packages.is_running()
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert not packages.is_running()  # this process's own
