"""The listening socket, which outlives the process: systemd keeps it while the unit restarts.

Who connects in between waits for the next process instead of being refused or cut off. Protocol: FDSTORE= in
sd_notify(3), LISTEN_FDS in sd_listen_fds(3); the unit has FileDescriptorStoreMax=1.
"""

from __future__ import annotations

import os
import socket

from tsfm.system.systemd import notify

NAME = "listen"
FIRST_FD = 3


def hand_over(listening: socket.socket) -> None:
    """Have systemd keep the socket; without systemd nothing happens."""
    notify("FDSTORE=1", f"FDNAME={NAME}", fds=[listening.fileno()])


def take_over(host: str, port: int) -> socket.socket | None:
    """The socket that the process before listened on; None when there is none, or it listens elsewhere."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    # They are for this process and for none that it may start.
    os.environ.pop("LISTEN_PID")
    count = int(os.environ.pop("LISTEN_FDS", "0"))
    os.environ.pop("LISTEN_FDNAMES", None)
    if not count:
        return None
    kept = socket.socket(fileno=FIRST_FD)
    kept.set_inheritable(False)
    wanted = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    if kept.getsockname() in [address for *_, address in wanted]:
        return kept
    kept.close()  # the settings have changed
    notify("FDSTOREREMOVE=1", f"FDNAME={NAME}")
    return None
