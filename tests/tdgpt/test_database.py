"""Having TDengine ask its anodes again: taosAdapter and the taos CLI as the contract describes them."""

from __future__ import annotations

import base64
import os
import socket
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tdgpt.host import Host
from tdgpt.taosadapter import Adapter, http, running, success
from tsfm.errors import ConfigError
from tsfm.system.subprocesses import Deadline
from tsfm.tdgpt import database

ANODE = [[1, "127.0.0.1:6035", "ready"]]


def adapter(host: Host, *answers: bytes | None, more: str = "") -> AbstractContextManager[Adapter]:
    return running(host.settings, *answers, more=more)


@pytest.fixture(autouse=True)
def _no_cli(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    """The CLI of this machine, if it has one, is no part of these tests."""
    monkeypatch.setenv("PATH", f"{host.bin}:/bin")


def update(seconds: float = 10) -> str:
    return database.update_anodes(Deadline.after(seconds))


def test_the_anodes_are_counted_before_they_are_updated(host: Host) -> None:
    with adapter(host, success(ANODE), success([])) as here:
        assert update() == "the database has updated its 1 anode(s)"
    assert here.statements() == [b"show anodes", b"update all anodes"]
    assert here.requests[0].startswith(b"POST /rest/sql HTTP/1.1\r\n")
    assert b"Basic " + base64.b64encode(b"root:taosdata") in here.requests[0]


def test_with_no_anode_nothing_is_updated(host: Host) -> None:
    with adapter(host, success([])) as here:
        assert "CREATE ANODE" in update()
    assert here.statements() == [b"show anodes"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http(200, {"code": 0x0357, "desc": "Insufficient privilege"}), "Insufficient privilege \\(code 0x357\\)"),
        (http(401, {"code": 3, "desc": "Authentication failure"}), "refuses user root: set user and password_file"),
        (http(503, b"no resources"), "answered 503"),
        (http(503, {"code": 0}), "answered 503"),
        (http(200, b"<html>"), "not in the form of taosAdapter"),
        (http(200, [1]), "not in the form of taosAdapter"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "cannot be reached"),
        (b"", "cannot be reached"),
    ],
)
def test_the_code_is_judged_not_the_status(answer: bytes, said: str, host: Host) -> None:
    with adapter(host, answer), pytest.raises(database.DatabaseError, match=said):
        update()


def test_an_update_that_fails_is_told(host: Host) -> None:
    refusal = http(200, {"code": 0x0443, "desc": "Analysis failed since anode return error"})
    with adapter(host, success(ANODE), refusal), pytest.raises(database.DatabaseError, match="anode return error"):
        update()


def test_an_answer_that_never_ends_is_given_up_in_time(host: Host) -> None:
    with adapter(host, None), pytest.raises(database.DatabaseError, match="did not answer in time"):
        started = time.monotonic()
        update(0.3)
    assert time.monotonic() - started < 10


def test_user_and_password_come_from_the_settings(host: Host, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("pass%word\n")
    secret.chmod(0o600)
    more = f"user = me\npassword_file = {secret}\n"
    with adapter(host, success([]), more=more) as here:
        update()
    assert b"Basic " + base64.b64encode(b"me:pass%word") in here.requests[0]
    assert "pass%word" not in repr(database.read())


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [("x", 0o640, "chmod 600"), ("", 0o600, "in its first line"), (None, 0, "No such file")],
)
def test_a_password_file_must_be_there_and_closed(
    content: str | None, mode: int, said: str, host: Host, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_text(content)
        secret.chmod(mode)
    host.settings.write_text(f"[tdengine]\npassword_file = {secret}\n")
    with pytest.raises(ConfigError, match=said):
        database.read()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tdengine]\nport = 1\n", "unknown key; known are host, rest_port"),
        ("[tdengine]\nrest_port = x\n", r"\[tdengine\] rest_port: expected a whole number"),
        ("tdengine\n", "no section headers"),
    ],
)
def test_wrong_settings_are_named(text: str, said: str, host: Host) -> None:
    host.settings.write_text(text)
    with pytest.raises(ConfigError, match=said):
        database.read()


def test_what_holds_for_all_families_does_not_hold_for_the_database(host: Host) -> None:
    host.settings.write_text("[DEFAULT]\nhost = 0.0.0.0\nthreads = 2\n[tdengine]\nuser = me\n")
    assert (database.read().host, database.read().user) == ("127.0.0.1", "me")


def taos(host: Host, script: str, more: str = "") -> Path:
    """No taosAdapter, but the CLI, which notes its arguments and its input."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    host.settings.write_text(f"[tdengine]\nrest_port = {port}\n{more}")
    log = host.root / "log"
    host.command("taos", f'echo "$@" >> {log}; env | grep ^HOME= >> {log}; {script}')
    return log


TABLE = "echo 'taos> show anodes'; echo ' id | url |'; echo ' 1 | 127.0.0.1:6035 |'"


def test_the_cli_serves_where_there_is_no_adapter(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    log = taos(host, f"{TABLE}; echo 'Query OK, 1 row(s) in set (0.002s)'")
    assert update() == "the database has updated its 1 anode(s)"
    assert log.read_text().splitlines() == [
        "-h 127.0.0.1 -P 6030 -u root -s show anodes",
        "HOME=/root",
        "-h 127.0.0.1 -P 6030 -u root -s update all anodes",
        "HOME=/root",
    ]


def test_the_password_reaches_the_cli_by_its_prompt_only(host: Host, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("topsecret\n")
    secret.chmod(0o600)
    script = 'read password; echo "DB error: wrong password $password"'
    log = taos(host, script, more=f"password_file = {secret}\n")
    with pytest.raises(database.DatabaseError) as trouble:
        update()
    assert "-u root -p -s show anodes" in log.read_text()
    assert "topsecret" not in log.read_text()
    assert "wrong password ***" in str(trouble.value)


@pytest.mark.parametrize(
    "said",
    [
        "DB error: Insufficient privilege (0.001s)",
        "failed to connect to server, reason: Unable to establish connection",
        "",
    ],
)
def test_the_clis_output_is_judged_as_its_exit_status_is_always_0(said: str, host: Host) -> None:
    taos(host, f"echo '{said}'; exit 0")
    with pytest.raises(
        database.DatabaseError, match=r"cannot be reached \(Connection refused\); the taos CLI: "
    ) as trouble:
        update()
    assert said[:20] in str(trouble.value)


def test_a_cli_that_hangs_is_ended_with_its_children(host: Host) -> None:
    taos(host, "sleep 600 & wait")
    with pytest.raises(database.DatabaseError, match="did not end within its time limit"):
        update(1)


def test_a_refusal_by_the_adapter_is_not_asked_twice(host: Host) -> None:
    with adapter(host, http(401, {"code": 3, "desc": "no"})):
        host.command("taos", f"touch {host.root}/asked")
        with pytest.raises(database.DatabaseError, match="refuses user root"):
            update()
    assert not (host.root / "asked").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("place", ["bin", "bin/taos", "opt", "opt/taos"])
def test_root_does_not_run_a_program_that_another_user_can_exchange(place: str, host: Host) -> None:
    host.command("taos", f"touch {host.root}/trapped")
    (host.root / "opt").mkdir()
    (host.bin / "taos").rename(host.root / "opt/taos")
    (host.bin / "taos").symlink_to(host.root / "opt/taos")
    access = database.Access("127.0.0.1", 6041, 6030, "root", "secret", False)
    os.chown(host.root / place, 65534, 65534, follow_symlinks=False)
    with pytest.raises(
        database.DatabaseError, match=r"is not run as root: .*belongs to user 65534; make root its owner"
    ):
        database.cli(access, "show anodes", Deadline.after(5))
    os.chown(host.root / place, 0, 0, follow_symlinks=False)
    if place in ("bin", "opt"):
        (host.root / place).chmod(0o777)
        with pytest.raises(database.DatabaseError, match="may be changed by other users"):
            database.cli(access, "show anodes", Deadline.after(5))
        (host.root / place).chmod(0o1777)
    assert not (host.root / "trapped").exists()
    with pytest.raises(database.DatabaseError, match="no answer"):
        database.cli(access, "show anodes", Deadline.after(5))
    assert (host.root / "trapped").exists()
