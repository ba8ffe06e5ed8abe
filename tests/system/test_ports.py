"""Naming the process behind a port, on real sockets and on a /proc of our own."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tsfm.system import ports


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_listening_socket_is_named_by_pid_and_command(family: int, address: str) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as server:
        try:
            server.bind((address, 0))
        except OSError:
            assert family == socket.AF_INET6, "IPv4 loopback must work"
            return
        server.listen()
        said = ports.holder(server.getsockname()[1])
    assert said is not None
    assert said.startswith(f"pid {os.getpid()} (")
    program = Path("/proc/self/cmdline").read_bytes().split(b"\0")[0].decode()
    assert f"({Path(program).name} " in said


def test_a_free_port_has_no_holder() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))  # bound, not listening: nobody can connect
        assert ports.holder(server.getsockname()[1]) is None


def tree(tmp_path: Path, uid: int) -> Path:
    """A /proc with one listener on 6037 (0x1795) and one connection from the same port."""
    (tmp_path / "net").mkdir()
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    row = "   {}: 0100007F:1795 00000000:0000 {} 00000000:00000000 00:00000000 00000000 {:5d} 0 {} 1\n"
    (tmp_path / "net" / "tcp").write_text(head + row.format(0, "01", 7, 11) + row.format(1, "0A", uid, 22))
    return tmp_path


def process(proc: Path, pid: int, cmdline: bytes, inode: int) -> None:
    folder = proc / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "cmdline").write_bytes(cmdline)
    (folder / "comm").write_text("short\n")
    (folder / "fd" / "3").symlink_to(f"socket:[{inode}]")


def test_the_command_is_shown_without_folders_and_only_for_the_listener(tmp_path: Path) -> None:
    proc = tree(tmp_path, uid=0)
    process(proc, 5, b"curl\0", inode=11)
    process(proc, 123, b"/usr/bin/python3\0/opt/x/timemoe-server.py\0--port\0" + b"6037\0", inode=22)
    assert ports.holder(6037, proc) == "pid 123 (python3 timemoe-server.py --port 6037)"


def test_who_serves_is_named_before_systemd_which_keeps_the_socket(tmp_path: Path) -> None:
    proc = tree(tmp_path, uid=0)
    process(proc, 1, b"/sbin/init\0", inode=22)
    process(proc, 123, b"tsfm\0serve\0fracast\0", inode=22)
    assert ports.holder(6037, proc) == "pid 123 (tsfm serve fracast)"


def test_a_long_or_unprintable_command_stays_one_short_line(tmp_path: Path) -> None:
    proc = tree(tmp_path, uid=0)
    process(proc, 9, b"x\ny" + b"z" * 500, inode=22)
    said = ports.holder(6037, proc)
    assert said is not None
    assert said.startswith("pid 9 (x?yzzz")
    assert len(said) < 140


def test_a_process_without_a_command_line_is_named_by_its_short_name(tmp_path: Path) -> None:
    proc = tree(tmp_path, uid=0)
    process(proc, 9, b"", inode=22)
    assert ports.holder(6037, proc) == "pid 9 (short)"


def test_a_hidden_process_is_named_by_its_user(tmp_path: Path) -> None:
    assert ports.holder(6037, tree(tmp_path, uid=0)) == "a process of user root"


def test_a_user_without_a_name_is_named_by_number(tmp_path: Path) -> None:
    assert ports.holder(6037, tree(tmp_path, uid=599_999)) == "a process of user 599999"


def test_a_host_without_tables_tells_nothing(tmp_path: Path) -> None:
    assert ports.holder(6037, tmp_path) is None
