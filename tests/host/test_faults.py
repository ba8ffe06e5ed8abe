"""What goes wrong on hosts, done on purpose: the service lives through it, or comes back by itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from host.conftest import MODELS, VERSIONS, Host
from host.container import until

from tsfm import card

LOAD = Path(__file__).with_name("load.py")
INI = "/etc/taos/tsfm.ini"
UNIT = "tsfm@naive"
PORT = card.read("naive").port
DROP_INS = f"/etc/systemd/system/{UNIT}.service.d"
WALK: list[float] = [3, 4, 2, 5, 4, 6, 5, 7, 6, 8, 7, 9]
# Dead by SIGKILL: what was in its hands is gone, what it had answered is not, and who comes waits for the next.
AFTER_A_KILL = {"200", "503", "reset"}


@pytest.fixture(scope="module", autouse=True)
def installed(host: Host) -> None:
    """The naive family on it, which needs no environment of its own, with a watchdog and a restart that are quick."""
    host.write("/etc/apt/sources.list.d/tsfm.list", "deb [trusted=yes] file:/srv/v1 ./\n")
    host.out("apt-get -q update && apt-get -q -y -o Dpkg::Use-Pty=0 install taos-tsfm-core taos-tsfm-fracast")
    host.out("ln -s fracast /usr/lib/taos-tsfm/venvs/naive")
    host.write(f"{DROP_INS}/quick.conf", "[Service]\nWatchdogSec=3\nRestartSec=100ms\n[Unit]\nStartLimitBurst=50\n")
    host.out(f"systemctl daemon-reload && systemctl start {UNIT}")
    host.write("/srv/load.py", LOAD.read_text())


@pytest.fixture(autouse=True)
def as_before(host: Host) -> Iterator[None]:
    """Before and after each test the service answers, without a restart having been asked for by hand."""
    host.until_ready("naive")
    yield
    host.until_ready("naive")
    assert last_of(host) == 9


def last_of(host: Host) -> float:
    status, answer = host.post(PORT, "/ds_predict", {"input": WALK, "next_len": 1})
    assert status == 200, answer
    return round(answer["output"][0], 3)


def restarts(host: Host) -> int:
    return int(host.show(UNIT, "NRestarts"))


@contextmanager
def load(host: Host, port: int = PORT, clients: int = 8, python: str = "python3") -> Iterator[dict[str, int]]:
    """Clients asking all the while; afterwards the dictionary holds what came of it."""
    kinds: dict[str, int] = {}
    host.out("rm -f /srv/load.out*")
    host.out(f"systemd-run --collect --unit load {python} -B /srv/load.py {port} {clients} /srv/load.out")
    until(lambda: (host.root / "srv/load.out.started").exists(), 30, lambda: host.journal("load"))
    try:
        yield kinds
    finally:
        host.out("touch /srv/load.out.stop")
        until(lambda: (host.root / "srv/load.out").exists(), 90, lambda: host.journal("load"))
        kinds.update(json.loads((host.root / "srv/load.out").read_text()))


@contextmanager
def drop_in(host: Host, text: str) -> Iterator[None]:
    """The unit with another setting, restarted for it and afterwards."""
    host.write(f"{DROP_INS}/fault.conf", f"[Service]\n{text}\n")
    host.out(f"systemctl daemon-reload && systemctl restart {UNIT}")
    try:
        yield
    finally:
        host.out(f"rm {DROP_INS}/fault.conf && systemctl daemon-reload && systemctl restart {UNIT}")


def test_kill_9_under_load_costs_only_what_was_in_its_hands(host: Host) -> None:
    before = restarts(host)
    with load(host) as kinds:
        for number in (1, 2):
            host.out(f"systemctl kill --signal KILL {UNIT}")
            until(lambda n=number: restarts(host) == before + n, 30, lambda: host.journal(UNIT))  # type: ignore[misc]
            host.until_ready("naive")
    assert set(kinds) <= AFTER_A_KILL, kinds
    assert kinds["200"] > 50
    assert kinds.get("reset", 0) <= 2 * (8 + 8), kinds  # no more than were asked, or waited to be accepted, at each


def test_a_stopped_process_is_restarted_by_the_watchdog(host: Host) -> None:
    before = restarts(host)
    host.out(f"systemctl kill --signal STOP {UNIT}")
    until(lambda: restarts(host) == before + 1, 60, lambda: host.journal(UNIT))
    assert "Watchdog timeout" in host.out(f"journalctl --unit {UNIT}")


def test_a_model_that_ends_its_thread_is_restarted_by_the_watchdog(host: Host) -> None:
    shipped = host.out(f"cat {INI}")
    host.write("/srv/naive/naive.json", '{"exit_above": 5}')
    host.write(INI, "[naive]\nmodel_folder = /srv/naive\n")
    host.out(f"systemctl restart {UNIT}")
    before = restarts(host)
    status, answer = host.post(PORT, "/ds_predict", {"input": [0] * 40 + [1]})
    assert (status, answer["error"]) == (500, "the inference thread has ended")
    until(lambda: restarts(host) == before + 1, 60, lambda: host.journal(UNIT))
    host.until_ready("naive")
    assert last_of(host) == 9
    host.write(INI, shipped + "\n")
    host.out(f"systemctl restart {UNIT}")


def test_a_model_folder_removed_while_serving_is_missed_only_at_the_next_start(
    host: Host, give_weights: Callable[[str], None]
) -> None:
    host.out("apt-get -q -y -o Dpkg::Use-Pty=0 install taos-tsfm-chronos")
    give_weights("chronos")
    host.out("systemctl start tsfm@chronos")
    first = host.ask("chronos")["output"]
    host.out(f"rm -r {MODELS}/chronos")
    assert host.ask("chronos")["output"] == first
    host.out("systemctl stop tsfm@chronos")
    assert "tsfm pull chronos" in host.waits("tsfm@chronos")


def test_unreadable_settings_do_not_reach_who_serves_and_are_named_at_the_next_start(host: Host) -> None:
    host.out(f"chmod 000 {INI}")
    assert last_of(host) == 9
    host.out(f"systemctl stop {UNIT}")
    said = host.refused(UNIT)
    host.out(f"chmod 644 {INI} && systemctl start {UNIT}")
    assert said.startswith(f"tsfm: {INI}: cannot be read: ")
    assert "\n" not in said


def test_a_full_tmp_and_a_full_disk_stop_neither_answers_nor_a_start(host: Host) -> None:
    places = ["/tmp", "/var/tmp", "/var/lib/taos", "/var/log"]
    for place in places:
        host.out(f"mount -t tmpfs -o size=64k tmpfs {place}")
    try:
        host.out(f"systemctl restart {UNIT}")
        for place in places:
            host.run(f"dd if=/dev/zero of={place}/full bs=4k; true")
            assert "100%" in host.out(f"df {place} | tail -1")
        inside = host.show(UNIT, "MainPID")
        host.run(f"nsenter --target {inside} --mount dd if=/dev/zero of=/tmp/full bs=4k; true")
        large = {"input": [0.1234567890123] * 39_988 + WALK, "next_len": 1}
        status, answer = host.post(PORT, "/ds_predict", large)  # 0.6 MB: more than /tmp holds
        assert status == 200, answer
        assert last_of(host) == 9
        host.out(f"systemctl restart {UNIT}")
        assert last_of(host) == 9
    finally:
        for place in places:
            host.out(f"umount --lazy {place}")
        host.out(f"systemctl restart {UNIT}")


def test_no_ipv6_on_loopback_matters_to_nobody(host: Host) -> None:
    host.out("echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6")
    host.out(f"systemctl restart {UNIT}")
    assert last_of(host) == 9
    host.out("echo 0 > /proc/sys/net/ipv6/conf/lo/disable_ipv6")


def test_a_dead_resolver_delays_neither_a_start_nor_an_answer(host: Host) -> None:
    host.write("/etc/resolv.conf", "nameserver 192.0.2.53\noptions timeout:30\n")
    host.run(f"systemctl restart {UNIT}", limit_s=20)
    assert last_of(host) == 9
    host.out("rm /etc/resolv.conf")


HOLD = """
import socket, time
held = []
for _ in range(300):
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex(("127.0.0.1", {port}))
    held.append(client)
time.sleep(3)
"""


def test_used_up_file_descriptors_are_survived(host: Host) -> None:
    with drop_in(host, "LimitNOFILE=128"):
        host.write("/srv/hold.py", HOLD.format(port=PORT))
        host.out("python3 -B /srv/hold.py")  # 300 connections at once, given up after 3 s
        assert last_of(host) == 9
        assert restarts(host) == 0
        said = host.journal(UNIT, "--priority warning")
        assert "connection limit" in said
        assert "Traceback" not in said
        assert "Too many open files" not in said


def test_an_interrupted_dpkg_run_is_finished_by_configure(host: Host) -> None:
    core = f"/srv/v1/taos-tsfm-core_{VERSIONS['v1']}-1_all.deb"
    host.out(f"dpkg --unpack {core}")
    assert "taos-tsfm-core" in host.out("dpkg --audit")
    host.out("dpkg --configure -a")
    assert host.out("dpkg --audit") == ""
    host.until_ready("naive")
    runtime = f"/srv/v1/taos-tsfm-runtime_{VERSIONS['v1']}-1_amd64.deb"
    # Killed while it unpacks: what runs keeps answering, and the next run mends it.
    host.run(f"timeout --signal KILL 2 dpkg -i {runtime}", check=False)
    assert last_of(host) == 9
    host.run("dpkg --configure -a", check=False)
    host.out(f"dpkg -i {runtime}")
    assert host.out("dpkg --audit") == ""


def test_an_upgrade_under_load_loses_no_accepted_request(host: Host) -> None:
    host.write("/etc/apt/sources.list.d/tsfm.list", "deb [trusted=yes] file:/srv/v2 ./\n")
    host.out("apt-get -q update && systemctl start tsfm@fracast")
    with load(host, card.read("fracast").port) as kinds:
        host.out("apt-get -q -y -o Dpkg::Use-Pty=0 upgrade")
        host.until_ready("fracast", VERSIONS["v2"])
    # systemd keeps the socket: nobody is refused, nor cut off between the last look and the closed door.
    assert set(kinds) <= {"200", "503"}, kinds
    assert kinds["200"] > 50
