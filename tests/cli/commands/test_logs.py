"""`tsfm logs`: what it asks journalctl for."""

from __future__ import annotations

import pytest
from tdgpt.host import Host


@pytest.fixture
def booted(host: Host) -> Host:
    (host.root / "run/systemd/system").mkdir(parents=True)
    host.command("journalctl", 'printf "%s\\n" "$@"')
    return host


@pytest.mark.parametrize(
    ("words", "passed"),
    [
        ([], []),
        (["-f"], ["--follow"]),
        (["--follow", "-n", "50"], ["--follow", "--lines=50"]),
        (["--since=-1h", "--lines", "all"], ["--lines=all", "--since=-1h"]),
    ],
)
def test_the_journal_of_the_service_and_of_its_download_is_shown(
    booted: Host, words: list[str], passed: list[str]
) -> None:
    done = booted.tsfm("logs", "fracast", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["--unit", "tsfm@fracast", "--unit", "tsfm-pull@fracast", *passed]


def test_a_family_that_does_not_exist_is_named(booted: Host) -> None:
    done = booted.tsfm("logs", "chronos2")
    assert done.returncode != 0
    assert "chronos2" in done.stderr


def test_without_systemd_it_is_said_where_lines_go(host: Host) -> None:
    done = host.tsfm("logs", "fracast")
    assert done.returncode == 78
    assert done.stderr == (
        "tsfm: systemd does not run here, so there is no journal of tsfm@fracast; a service that was started by hand "
        "writes to its own stderr\n"
    )
