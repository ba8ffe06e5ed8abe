"""`tsfm register` and `tsfm unregister` as processes: what they say, run and return."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tdgpt.host import SAMPLES, Host


@pytest.fixture
def booted(host: Host) -> Path:
    """A host with systemd, TDgpt running; gives the log of what was asked of it."""
    (host.root / "run/systemd/system").mkdir(parents=True)
    log = host.root / "log"
    log.touch()
    host.command("systemctl", f'echo "systemctl $@" >> {log}')
    host.command("taos", f'echo "taos $@" >> {log}; echo "Query OK, 1 row(s) in set (0.1s)"')
    host.settings.write_text(f"[tdengine]\nrest_port = {closed_port()}\n")
    return log


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def listening(host: Host, config: Path) -> socket.socket:
    """An anode's port, which the configuration names."""
    server = socket.create_server(("127.0.0.1", 0))
    config.write_text(config.read_text().replace("0.0.0.0:6035", f"0.0.0.0:{server.getsockname()[1]}"))
    host.install("fracast")
    return server


def test_tdgpt_is_restarted_and_the_database_asked_only_when_a_file_changed(host: Host, booted: Path) -> None:
    with listening(host, host.tdgpt("G2")):
        first = host.tsfm("register")
        assert (first.returncode, first.stderr) == (0, "")
        assert "taosanoded.service restarted" in first.stdout
        assert "the database has updated its 1 anode(s)" in first.stdout
        asked = booted.read_text()
        assert [line for line in asked.splitlines() if "-h" not in line] == [
            "systemctl is-active --quiet taosanoded.service",
            "systemctl try-restart taosanoded.service",
        ]
        assert asked.endswith("-s update all anodes\n")
        again = host.tsfm("register")
        assert (again.returncode, again.stdout) == (0, "TDgpt (G2): nothing to change\n")
        assert booted.read_text() == asked


def test_neither_is_done_when_not_wanted(host: Host, booted: Path) -> None:
    with listening(host, host.tdgpt("G2")):
        assert host.tsfm("register", "--no-restart", "--no-update").returncode == 0
        assert host.tsfm("unregister", "--no-restart", "--no-update").returncode == 0
    assert booted.read_text() == ""


def test_a_dry_run_prints_the_lines_and_runs_nothing(host: Host, booted: Path) -> None:
    config = host.tdgpt("G1")
    host.install("fracast")
    done = host.tsfm("register", "--dry-run")
    assert done.returncode == 0
    assert "\n+fracast = http://127.0.0.1:6076/ds_predict\n" in done.stdout
    assert f"would do: {config}: registers fracast\n" in done.stdout
    assert config.read_bytes() == (SAMPLES / "g1.ini").read_bytes()
    assert booted.read_text() == ""


def test_a_tdgpt_that_does_not_come_back_is_one_warning_with_the_command(host: Host, booted: Path) -> None:
    host.tdgpt("G2")
    host.install("fracast")
    host.command("systemctl", 'case "$1" in try-restart) echo "Job failed." >&2; exit 1;; esac')
    done = host.tsfm("register")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "warning: taosanoded.service did not restart: Job failed.; see: systemctl status taosanoded.service; "
        'later run: taos -s "update all anodes"'
    ]


def test_a_tdgpt_that_is_stopped_is_not_waited_for(host: Host, booted: Path) -> None:
    config = host.tdgpt("G2")
    config.write_text(config.read_text().replace(":6035", f":{closed_port()}"))
    host.install("fracast")
    host.command("systemctl", '[ "$1" != is-active ]')
    done = host.tsfm("register")
    assert done.stdout.splitlines()[-2:] == [
        "taosanoded.service is not running; it will read the change when it starts",
        'once TDgpt runs: taos -s "update all anodes"',
    ]
    assert done.stderr == ""


def test_a_database_that_is_down_is_one_warning(host: Host, booted: Path) -> None:
    with listening(host, host.tdgpt("G2")):
        host.command("taos", 'echo "failed to connect to server"')
        done = host.tsfm("register")
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1
    assert "failed to connect" in done.stderr
    assert done.stderr.endswith('later run: taos -s "update all anodes"\n')


def test_a_change_made_while_tdgpt_restarts_is_not_missed(host: Host, booted: Path) -> None:
    config = host.tdgpt("G2")
    with listening(host, config):
        original = config.read_text()
        (host.root / "original").write_text(original)
        once = f"[ -e {host.root}/original ] && mv {host.root}/original {config}"
        host.command("systemctl", f'echo "systemctl $@" >> {booted}; case "$1" in try-restart) {once};; esac; true')
        done = host.tsfm("register")
    assert done.returncode == 0
    assert "fracast" in config.read_text()
    assert booted.read_text().count("try-restart") == 2


def test_without_tdgpt_it_says_so_and_succeeds(host: Host) -> None:
    done = host.tsfm("register")
    assert done.returncode == 0
    assert "no TDgpt on this host" in done.stderr
    assert host.tsfm("unregister").returncode == 0


def test_a_refused_file_is_exit_1_and_wrong_settings_are_78(host: Host) -> None:
    config = host.tdgpt("G2")
    host.install("fracast")
    config.write_text("nonsense\n")
    done = host.tsfm("register", "--no-restart", "--no-update")
    assert done.returncode == 1
    assert done.stderr.startswith(f"refused: {config}: neither tsfm nor TDgpt can read it: ")
    host.settings.write_text("[fracast]\nport = 0\n")
    done = host.tsfm("register")
    assert done.returncode == 78
    assert "[fracast] port: expected a whole number from 1 to 65535" in done.stderr


def test_wrong_access_to_the_database_is_only_a_warning(host: Host) -> None:
    with listening(host, host.tdgpt("G2")):
        host.settings.write_text("[tdengine]\nport = 1\n")
        done = host.tsfm("register", "--no-restart")
    assert done.returncode == 0
    assert "warning: " in done.stderr
    assert "[tdengine] port: unknown key" in done.stderr


def test_unregister_puts_back_the_bytes_and_restarts(host: Host, booted: Path) -> None:
    config = host.tdgpt("G2")
    with listening(host, config):
        before = config.read_bytes()
        host.tsfm("register", "--no-restart", "--no-update")
        done = host.tsfm("unregister")
    assert done.returncode == 0
    assert config.read_bytes() == before
    assert "try-restart" in booted.read_text()


def test_the_help_says_what_the_exit_statuses_mean(host: Host) -> None:
    for command in ("register", "unregister", "doctor"):
        assert "Exit status:" in host.tsfm(command, "--help").stdout


def test_it_needs_the_standard_library_only(host: Host) -> None:
    code = "import sys; from tsfm.cli.main import main; main(['register', '--help'])"
    blocked = "; ".join(f"sys.modules['{name}'] = None" for name in ("numpy", "torch", "flask", "orjson"))
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {blocked}; {code}"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[3] / "src")},
    )
    assert done.returncode == 0, done.stderr


def test_what_would_change_and_what_changed_is_told_as_json_too(host: Host, booted: Path) -> None:
    with listening(host, host.tdgpt("G2")):
        planned = json.loads(host.tsfm("register", "--dry-run", "--json").stdout)
        assert planned["dry_run"]
        assert planned["tdgpt"] == "G2"
        assert any("fracast" in diff for diff in planned["diffs"])
        done = host.tsfm("register", "--json")
        assert json.loads(done.stdout)["done"] == planned["done"] != []
        assert "taosanoded.service restarted" in done.stderr
        assert json.loads(host.tsfm("register", "--json").stdout)["done"] == []
        assert json.loads(host.tsfm("unregister", "--json").stdout)["done"]
