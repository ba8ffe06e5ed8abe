"""Keeps the listening socket open across restarts: systemd holds it while the unit restarts.

Clients that connect during a restart wait for the new process and are not refused. Protocol: FDSTORE= in
sd_notify(3), LISTEN_FDS in sd_listen_fds(3); the unit has FileDescriptorStoreMax=1.
"""

from __future__ import annotations

import os
import socket

from tsfm.system.systemd import notify

NAME = "listen"
FIRST_FD = 3


def hand_over(listening: socket.socket) -> None:
    """Give systemd the socket to keep; without systemd nothing happens."""
    notify("FDSTORE=1", f"FDNAME={NAME}", fds=[listening.fileno()])


def take_over(host: str, port: int) -> socket.socket | None:
    """The socket of the previous process; None if there is none, or it listens on another address."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    # The variables are for this process, not for its children.
    os.environ.pop("LISTEN_PID")
    count = int(os.environ.pop("LISTEN_FDS", "0"))
    os.environ.pop("LISTEN_FDNAMES", None)
    if not count:
        return None
    inherited = socket.socket(fileno=FIRST_FD)
    inherited.set_inheritable(False)
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    if inherited.getsockname() in [address for *_, address in addresses]:
        return inherited
    inherited.close()  # the settings have changed
    notify("FDSTOREREMOVE=1", f"FDNAME={NAME}")
    return None
