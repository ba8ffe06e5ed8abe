"""`tsfm ps` beside real services, and beside the units of a host."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import HERE, Live, free_port
from tdgpt.host import Host

from tsfm import card
from tsfm.cli import metrics

ROOT = HERE.parent
FAMILIES = card.names(packaged_only=True)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    log = tmp_path_factory.mktemp("fracast") / "log"
    with Live("fracast", "--threads", "1", log=log, forked=True) as service:
        yield service


def settings(file: Path, **ports: int) -> None:
    """Each family at its port; the others where nothing listens."""
    file.write_text("".join(f"[{name}]\nport = {ports.get(name) or free_port()}\n" for name in FAMILIES))


def ps(file: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "TSFM_INI": str(file)}
    return subprocess.run(
        [sys.executable, "-m", "tsfm", "ps", *words], env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.slow
def test_a_service_that_answers_is_shown_with_its_figures(live: Live, tmp_path: Path) -> None:
    for _ in range(3):
        assert live.post("/ds_predict", {"input": list(range(40)), "next_len": 2}).status == 200
    settings(tmp_path / "ini", fracast=live.port)
    (one,) = json.loads(ps(tmp_path / "ini", "--json").stdout)
    assert (one["family"], one["state"], one["port"], one["pid"]) == ("fracast", "ready", live.port, live.process.pid)
    assert one["queue"] == 0
    assert one["memory_mib"] > 50
    assert one["requests_per_s"] == 0
    assert one["restarts"] is None  # no unit runs here
    samples = metrics.read(live.get("/metrics").body.decode())
    assert one["p99_s"] == metrics.quantile(samples, "tsfm_request_seconds", 0.99) > 0
    shown = ps(tmp_path / "ini")
    assert (shown.returncode, shown.stderr) == (0, "")
    head, row = shown.stdout.splitlines()
    assert head.split()[:4] == ["FAMILY", "STATE", "PORT", "PID"]
    assert row.split()[:4] == ["fracast", "ready", str(live.port), str(live.process.pid)]


@pytest.mark.slow
def test_requests_of_the_last_second_are_counted(live: Live, tmp_path: Path) -> None:
    settings(tmp_path / "ini", fracast=live.port)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "TSFM_INI": str(tmp_path / "ini")}
    command = [sys.executable, "-m", "tsfm", "ps", "--json"]
    watching = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    sent = 0
    while watching.poll() is None:
        assert live.post("/ds_predict", {"input": list(range(40)), "next_len": 2}).status == 200
        sent += 1
    output, _ = watching.communicate()
    (one,) = json.loads(output)
    assert 0 < one["requests_per_s"] <= sent


def test_where_nothing_runs_the_next_step_is_named(tmp_path: Path) -> None:
    settings(tmp_path / "ini")
    done = ps(tmp_path / "ini")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "no service is installed here, and none answers; tsfm serve FAMILY starts one\n"
    assert ps(tmp_path / "ini", "--json").stdout == "[]\n"


def test_what_does_not_answer_is_shown_with_what_its_unit_says(host: Host) -> None:
    host.install("fracast", "chronos", "timemoe")
    (host.root / "run/systemd/system").mkdir(parents=True)
    states = {
        "fracast": "ActiveState=failed\nResult=watchdog\nNRestarts=5",
        "chronos": "ActiveState=activating\nStatusText=waiting: weights are missing\nNRestarts=2",
        "timemoe": "ActiveState=inactive",
    }
    shown = "\n\n".join(f"Id=tsfm@{name}.service\nLoadState=loaded\n{text}" for name, text in states.items())
    (host.root / "units").write_text(shown)
    host.command("systemctl", f"cat {host.root}/units")
    settings(host.settings)
    found = {one["family"]: one for one in json.loads(host.tsfm("ps", "--json").stdout)}
    assert {name: (one["state"], one["detail"], one["restarts"]) for name, one in found.items()} == {
        "fracast": ("failed", "watchdog", 5),
        "chronos": ("activating", "waiting: weights are missing", 2),
        "timemoe": ("stopped", "", None),
    }


@pytest.mark.slow
def test_a_port_that_is_silent_and_a_service_that_asks_for_a_token_are_told_apart(host: Host) -> None:
    token = host.root / "token"
    token.write_text("secret\n")
    theirs = host.root / "theirs.ini"
    theirs.write_text(f"[fracast]\ntoken_file = {token}\n")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        env = {"TSFM_INI": str(theirs)}
        guarded = Live("fracast", "--threads", "1", log=host.root / "log", env=env, forked=True)
        try:
            guarded.until_ready()
            settings(host.settings, fracast=guarded.port, chronos=silent.getsockname()[1])
            found = {one["family"]: one for one in json.loads(host.tsfm("ps", "--json").stdout)}
        finally:
            guarded.stop()
    assert found["fracast"]["state"] == "refused"
    assert "token" in found["fracast"]["detail"]
    assert found["chronos"]["state"] == "no answer"
    assert "did not answer within 2 s" in found["chronos"]["detail"]
