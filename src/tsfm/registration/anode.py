"""The running anode: restarting it, waiting for it, asking what it lists."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import time

from tsfm import install
from tsfm.errors import TsfmError
from tsfm.registration.bounded import Deadline, NotInTime, run
from tsfm.registration.tdgpt import UNIT


class AnodeTrouble(TsfmError):
    """The anode does not do what we need; the sentence says what to run."""


def restart(address: tuple[str, int], deadline: Deadline) -> str:
    """Restart TDgpt if it runs, and wait until it answers.

    Returns: what was done, for a person.

    Raises:
        AnodeTrouble: it did not come back in time.
    """
    systemctl = shutil.which("systemctl")
    if systemctl is None or not (install.ROOT / "run/systemd/system").is_dir():
        return "no systemd here: restart TDgpt yourself if it runs"
    remedy = f"see: systemctl status {UNIT}"
    try:
        status, _ = run([systemctl, "is-active", "--quiet", UNIT], deadline)
        if status:
            return f"{UNIT} is not running: it reads the change when it starts"
        status, said = run([systemctl, "try-restart", UNIT], deadline)
    except NotInTime:
        raise AnodeTrouble(f"{UNIT} is still restarting; {remedy}") from None
    if status:
        raise AnodeTrouble(f"{UNIT} did not restart: {' '.join(said.split())}; {remedy}")
    while not reachable(address):
        if deadline.passed:
            raise AnodeTrouble(f"{UNIT} restarted, but port {address[1]} does not answer yet; {remedy}")
        time.sleep(0.1)  # a port cannot be waited for
    return f"{UNIT} restarted"


def reachable(address: tuple[str, int]) -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True


def listed(address: tuple[str, int], timeout_s: float = 3) -> set[str]:
    """The names that the anode's /list has.

    Raises:
        AnodeTrouble: no such answer.
    """
    connection = http.client.HTTPConnection(*address, timeout=timeout_s)
    try:
        connection.request("GET", "/list")
        response = connection.getresponse()
        answer = json.loads(response.read(4_000_000))
        return {str(algo["name"]) for kind in answer["details"] for algo in kind["algo"]}
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        raise AnodeTrouble(f"no list from {address[0]}:{address[1]}: {error or type(error).__name__}") from None
    finally:
        connection.close()
