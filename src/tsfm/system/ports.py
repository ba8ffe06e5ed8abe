"""Finds the process that listens on a TCP port of this host, from /proc alone."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_LISTEN = "0A"
_LONGEST = 120  # characters of a command line that is shown


@dataclass(frozen=True)
class Listener:
    """One listening socket.

    Attributes:
        port: TCP port.
        inode: the socket's, as the links in /proc/PID/fd name it.
        uid: the user that opened it.
    """

    port: int
    inode: int
    uid: int


def holder(port: int, proc: Path = PROC) -> str | None:
    """The process that listens on ``port``: "pid 123 (python3 timemoe-server.py)".

    Only root can see the sockets of other users' processes; others get "a process of user NAME". None: no process
    listens, or /proc does not show it.
    """
    sockets = {listener.inode: listener for listener in listeners(proc) if listener.port == port}
    if not sockets:
        return None
    for pid, inode in _sockets_of_processes(proc):
        if inode in sockets:
            return f"pid {pid} ({_command(proc / pid)})"
    uid = min(listener.uid for listener in sockets.values())
    return f"a process of user {_user(uid)}"


def listeners(proc: Path = PROC) -> list[Listener]:
    """All listening TCP sockets of this network namespace, IPv4 and IPv6."""
    found = []
    for table in ("tcp", "tcp6"):
        try:
            rows = (proc / "net" / table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue  # no IPv6 here, or /proc is restricted
        for fields in map(str.split, rows):
            if fields[3] == _LISTEN:
                found.append(Listener(int(fields[1].rpartition(":")[2], 16), int(fields[9]), int(fields[7])))
    return found


def _sockets_of_processes(proc: Path) -> Iterator[tuple[str, int]]:
    """(pid, inode) of every socket that we may see; processes may end meanwhile."""
    # systemd holds our services' sockets too, but does not serve them: process 1 comes last.
    for pid in sorted((entry.name for entry in proc.iterdir() if entry.name.isdigit()), key=lambda pid: pid == "1"):
        folder = proc / pid / "fd"
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                with contextlib.suppress(OSError):
                    target = os.readlink(folder / name)
                    if target.startswith("socket:["):
                        yield pid, int(target[8:-1])


def _command(process: Path) -> str:
    """The command line without folders, cut to ``_LONGEST`` characters."""
    try:
        words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        words = [word for word in words if word] or [(process / "comm").read_text().strip()]
    except OSError:
        return "ended"
    words = [word.rpartition("/")[2] or word for word in words[:2]] + words[2:]
    line = "".join(c if c.isprintable() else "?" for c in " ".join(words))
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
