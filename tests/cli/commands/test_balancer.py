"""`tsfm balancer apply`, and what `tsfm doctor`, `tsfm ps` and `tsfm register` know of the hosts behind it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fleet.lab import PROGRAM, Lab, needs_haproxy
from tdgpt.host import Host

HOSTS = "[balancer]\nhosts = 10.0.0.11 10.0.0.12\nfamilies = fracast\n"
pytestmark = needs_haproxy


@pytest.fixture
def made(host: Host) -> Host:
    host.command("haproxy", f'exec {PROGRAM} "$@"')
    host.settings.write_text(HOSTS)
    return host


def systemd(host: Host, *, runs: bool) -> Path:
    """A systemctl that writes down what it is told; gives that file."""
    (host.root / "run/systemd/system").mkdir(parents=True)
    state = "" if runs else '[ "$1" != is-active ] || exit 3\n'
    host.command("systemctl", f'echo "$@" >>{host.root}/told\n{state}')
    return host.root / "told"


def test_it_writes_what_haproxy_takes_and_changes_nothing_the_second_time(made: Host) -> None:
    told = systemd(made, runs=True)
    done = made.tsfm("balancer", "apply")
    assert (done.returncode, done.stderr) == (0, "")
    file = made.etc / "tsfm-balancer.cfg"
    assert file.read_text() == made.tsfm("balancer", "apply", "--dry-run").stdout
    assert file.stat().st_mode & 0o777 == 0o644
    assert "written: fracast at 127.0.0.1, on the hosts 10.0.0.11, 10.0.0.12" in done.stdout
    assert told.read_text().splitlines()[-1] == "reload tsfm-balancer.service"
    assert "up to date" in made.tsfm("balancer", "apply").stdout
    assert [path.name for path in made.etc.glob("*balancer*")] == ["tsfm-balancer.cfg"]


def test_a_balancer_that_does_not_run_is_not_started_and_the_command_for_it_is_named(made: Host) -> None:
    told = systemd(made, runs=False)
    done = made.tsfm("balancer", "apply")
    assert "systemctl enable --now tsfm-balancer.service" in done.stdout
    assert "reload" not in told.read_text()


def test_what_haproxy_refuses_never_replaces_what_it_runs_with(made: Host) -> None:
    assert made.tsfm("balancer", "apply").returncode == 0
    before = (made.etc / "tsfm-balancer.cfg").read_bytes()
    made.command("haproxy", "echo '[ALERT] (1) : config : unknown keyword'; exit 1")
    made.settings.write_text(HOSTS.replace(" 10.0.0.12", ""))
    done = made.tsfm("balancer", "apply")
    assert (done.returncode, done.stdout) == (78, "")
    assert "haproxy refuses the configuration, the old one stays: [ALERT] (1) : config : unknown keyword" in done.stderr
    assert (made.etc / "tsfm-balancer.cfg").read_bytes() == before
    assert len(list(made.etc.glob("*balancer*"))) == 1


def test_without_hosts_it_says_what_is_missing(made: Host) -> None:
    made.settings.write_text("")
    done = made.tsfm("balancer", "apply")
    assert done.returncode == 78
    assert "[balancer] hosts: expected the addresses of the hosts that serve, found none" in done.stderr


def test_register_writes_the_balancers_address_also_for_a_family_that_is_not_installed_here(made: Host) -> None:
    config = made.tdgpt("G2")
    made.install("timemoe")
    made.settings.write_text(HOSTS.replace("fracast", "fracast chronos") + "[DEFAULT]\nhost = 10.0.0.11\n")
    done = made.tsfm("register", "--no-restart", "--no-update")
    assert done.returncode == 0, done.stderr
    text = config.read_text()
    assert "fracast = http://127.0.0.1:6076/ds_predict" in text.replace("fracast=", "fracast = ")
    assert "http://127.0.0.1:6038/ds_predict" in text
    assert "http://10.0.0.11:6037/" in text  # not balanced: the service of this host
    # Only what is installed here has a server script.
    assert [path.name for path in made.scripts.glob("*")] == ["timemoe-server.py"]
    made.settings.write_text("")
    made.tsfm("register", "--no-restart", "--no-update")
    assert "6076" not in config.read_text()


def about_hosts(host: Host) -> list[dict[str, str]]:
    """What the doctor says of the balancer and its family."""
    return [one for one in json.loads(host.tsfm("doctor", "--json").stdout) if one["about"] in ("balancer", "naive")]


@pytest.mark.slow
def test_doctor_and_ps_look_at_every_host(made: Host, tmp_path_factory: pytest.TempPathFactory) -> None:
    lab = Lab(tmp_path_factory.mktemp("lab"))
    try:
        made.settings.write_text(lab.ini.read_text())
        assert made.tsfm("balancer", "apply").returncode == 0
        found = about_hosts(made)
        assert [one["level"] for one in found] == ["ok", "ok"]
        assert found[1]["text"] == "ready on 127.0.0.2, 127.0.0.3"
        lab.services[1].process.kill()
        lab.services[1].process.wait()
        made.settings.write_text(lab.ini.read_text() + "check_s = 2\n")
        found = about_hosts(made)
        assert [(one["level"], one["remedy"]) for one in found] == [
            ("broken", "run: tsfm balancer apply"),
            ("warning", "on 127.0.0.3 run: tsfm doctor"),
        ]
        assert "1 of 2 hosts are ready" in found[1]["text"]
        rows = {one["host"]: one for one in json.loads(made.tsfm("ps", "--json").stdout)}
        assert (rows["127.0.0.2"]["state"], rows["127.0.0.2"]["queue"]) == ("ready", 0)
        assert rows["127.0.0.3"]["state"] == "no answer"
        assert f"127.0.0.2:{lab.port}" in made.tsfm("ps").stdout
    finally:
        lab.stop()
