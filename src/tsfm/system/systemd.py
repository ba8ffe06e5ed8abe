"""Sends readiness, status and watchdog messages to systemd over $NOTIFY_SOCKET (sd_notify(3))."""

from __future__ import annotations

import logging
import os
import socket
import threading
from array import array
from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)


def notify(*fields: str, fds: Sequence[int] = ()) -> bool:
    """Send fields such as ``READY=1``, and file descriptors; False without systemd, or when it does not listen."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):  # abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            # Not socket.send_fds: in Python 3.11 it ignores the address.
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
            channel.sendmsg(["\n".join(fields).encode()], rights, 0, address)
        except OSError as error:
            log.warning("systemd could not be told %s: %s", fields[0], error)
            return False
    return True


def keep_watchdog_fed(healthy: Callable[[], bool], stop: threading.Event) -> None:
    """Ping the watchdog every third of WatchdogSec, but only while ``healthy()`` says so."""
    limit_us = int(os.environ.get("WATCHDOG_USEC", "0"))
    if not limit_us:
        return

    def loop() -> None:
        while not stop.wait(limit_us / 3e6):
            if healthy():
                notify("WATCHDOG=1")
            else:
                log.error(
                    "the model or the network loop hangs; leaving it to systemd's watchdog to restart the service"
                )

    threading.Thread(target=loop, name="watchdog", daemon=True).start()
