"""`tsfm fleet`: what it writes, starts and says on a host without Ray; tests/fleet/test_replica.py runs it with one."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import free_port
from tdgpt.host import Host

from tsfm.errors import TryLater
from tsfm.fleet import cluster, head, membership

FLEET = "[fleet]\nhead = 127.0.0.9\naddress = {}\nnetwork = 127.0.0.0/8\nfamilies = naive\ntoken_file = {}/token\n"


@pytest.fixture
def made(host: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host with a systemctl that writes down what it is told."""
    (host.root / "run/systemd/system").mkdir(parents=True)
    host.command("systemctl", f'echo "$@" >>{host.root}/told')
    return host


def told(host: Host) -> list[str]:
    file = host.root / "told"
    return file.read_text().splitlines() if file.exists() else []


def drop_in(host: Host, role: str) -> Path:
    return host.root / f"etc/systemd/system/tsfm-fleet-{role}.service.d/network.conf"


def token(host: Host, text: str = "geheim\n") -> Path:
    file = host.root / "token"
    file.write_text(text)
    return file


def test_init_makes_the_token_opens_the_unit_to_the_network_and_starts_it(made: Host) -> None:
    made.settings.write_text(FLEET.format("127.0.0.9", made.root))
    done = made.tsfm("fleet", "init")
    assert (done.returncode, done.stderr) == (0, "")
    assert "made; copy it to every node" in done.stdout
    assert "next: on each node, tsfm fleet join 127.0.0.9; then here, tsfm fleet apply" in done.stdout
    assert len((made.root / "token").read_text().strip()) == 64
    assert (made.root / "token").stat().st_mode & 0o777 == 0o640
    assert drop_in(made, "head").read_text().endswith("[Service]\nIPAddressAllow=127.0.0.0/8\n")
    unit = "tsfm-fleet-head.service"
    assert told(made) == ["daemon-reload", f"enable {unit}", f"restart {unit}"]
    before = (made.root / "token").read_text()
    assert made.tsfm("fleet", "init").returncode == 0
    assert (made.root / "token").read_text() == before


def test_join_needs_the_token_and_starts_a_node(made: Host) -> None:
    made.settings.write_text(FLEET.format("127.0.0.2", made.root))
    done = made.tsfm("fleet", "join", "127.0.0.9")
    assert done.returncode == 78
    assert f"{made.root}/token: no such file; copy it from the head, 127.0.0.9" in done.stderr
    assert told(made) == []
    token(made)
    done = made.tsfm("fleet", "join", "127.0.0.9")
    assert done.returncode == 0, done.stderr
    assert told(made)[-1] == "restart tsfm-fleet-node.service"
    assert (made.root / "token").stat().st_mode & 0o777 == 0o640
    others = drop_in(made, "node").with_name("mine.conf")
    others.write_text("[Service]\nNice=5\n")
    for _ in range(2):
        done = made.tsfm("fleet", "leave")
        assert done.returncode == 0, done.stderr
        assert told(made)[-2:] == ["disable --now tsfm-fleet-node.service", "daemon-reload"]
        assert not drop_in(made, "node").exists()
        assert others.exists(), "the operator's own settings stay"


def test_head_and_network_of_the_command_are_written_into_the_section(
    made: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tsfm.ini"
    monkeypatch.setenv("TSFM_INI", str(file))
    text = "# Mine.\n[DEFAULT]\nqueue = 9\n\n[fleet]\n#head =\nport = 8001\n\n[chronos]\nthreads = 2\n"
    file.write_text(text)
    membership.configure("10.0.0.10", "10.0.0.0/24")
    lines = "[fleet]\nhead = 10.0.0.10\nnetwork = 10.0.0.0/24\n"
    assert file.read_text() == text.replace("[fleet]\n", lines)
    membership.configure("10.0.0.10", None)
    assert file.read_text() == text.replace("[fleet]\n", lines)
    file.unlink()
    membership.configure("10.0.0.10", "10.0.0.0/24")
    assert file.read_text() == lines


def test_a_head_that_the_file_does_not_name_is_refused(made: Host) -> None:
    made.settings.write_text(FLEET.format("127.0.0.2", made.root))
    done = made.tsfm("fleet", "join", "127.0.0.8")
    assert done.returncode == 78
    assert "line 2: [fleet] head: expected 127.0.0.8, as the command says, got '127.0.0.9'" in done.stderr


@pytest.mark.parametrize(
    ("address", "words", "code", "said"),
    [
        ("127.0.0.9", ["join"], 78, "head is this host's own address: run tsfm fleet init"),
        ("127.0.0.2", ["init"], 78, "the head is 127.0.0.9, and this host is 127.0.0.2: run tsfm fleet join 127.0.0.9"),
        ("127.0.0.2", ["apply"], 2, "fleet apply: expected to run on the head, 127.0.0.9; this host is 127.0.0.2"),
        ("127.0.0.9", ["drain"], 2, "fleet drain: expected the address of a host"),
        ("127.0.0.9", ["leave", "127.0.0.2"], 2, "fleet leave: expected no HOST, got '127.0.0.2'"),
        ("127.0.0.9", ["run", "node"], 78, "127.0.0.9 is a head; its unit is tsfm-fleet-head.service"),
        ("127.0.0.9", ["run", "head"], 78, "not installed; install the package taos-tsfm-fleet"),
    ],
)
def test_what_does_not_fit_is_one_sentence(made: Host, address: str, words: list[str], code: int, said: str) -> None:
    token(made)
    made.settings.write_text(FLEET.format(address, made.root))
    done = made.tsfm("fleet", *words)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_a_head_that_does_not_answer_is_named(made: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "BASE", f"http://127.0.0.1:{free_port()}")  # at Ray's own port another test may have one
    token(made)
    made.settings.write_text(FLEET.format("127.0.0.9", made.root))
    fleet = cluster.read(made.settings)
    assert fleet
    said = r"the head of the fleet does not answer: .*; on 127\.0\.0\.9, see: systemctl status tsfm-fleet-head\.service"
    with pytest.raises(TryLater, match=said):
        head.nodes(fleet)


def test_without_a_section_each_action_says_what_is_missing(made: Host) -> None:
    made.settings.write_text("")
    assert "[fleet] head: expected the address of the fleet's head, found none" in made.tsfm("fleet", "apply").stderr
    assert "expected this host's address in the fleet's network" in made.tsfm("fleet", "init").stderr
    assert "expected the address of the head" in made.tsfm("fleet", "join").stderr
