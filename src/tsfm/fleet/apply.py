"""Puts the balancer's configuration in place: checked by haproxy first, and taken up without losing a request."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tsfm import paths
from tsfm.errors import ConfigError, TsfmError
from tsfm.fleet.balancer import UNIT
from tsfm.system import atomic, systemctl
from tsfm.system.subprocesses import Deadline, NotInTime, run

FILE = paths.ETC / "tsfm-balancer.cfg"
CHECK_S, RELOAD_S = 10.0, 30.0


def current() -> str | None:
    """The configuration in place; None: there is none."""
    try:
        return FILE.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{FILE}: cannot be read: {error}") from None


def replace(text: str) -> bool:
    """Put a configuration in place of the old one, unless it is the same; False: it is.

    Raises:
        ConfigError: haproxy does not take it, or the file cannot be written; the old one is as it was.
    """
    if text == current():
        return False
    with atomic.beside(FILE, text) as new:
        check(new)
        os.replace(new, FILE)
    return True


def check(file: Path) -> None:
    """Have haproxy check a configuration.

    Raises:
        ConfigError: haproxy is missing, or refuses it; the sentence is haproxy's first.
    """
    program = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise ConfigError("haproxy is not installed; install the package taos-tsfm-balancer")
    try:
        code, output = run([program, "-c", "-q", "-f", str(file)], Deadline.after(CHECK_S))
    except NotInTime as error:
        raise ConfigError(str(error)) from None
    if code:
        alert = next((line.strip() for line in output.splitlines() if "[ALERT]" in line), output.strip()[:200])
        raise ConfigError(f"haproxy refuses the configuration, the old one stays: {alert}")


def reload() -> str:
    """Have the running balancer take up its configuration; the sentence says what happened, or what to do.

    Raises:
        TsfmError: the unit could not be reloaded.
    """
    program = systemctl.find()
    if program is None:
        return "systemd does not run here: start haproxy with this file"
    if run([program, "is-active", "--quiet", UNIT], Deadline.after(CHECK_S))[0]:
        return f"{UNIT} does not run; to start it, now and at boot: systemctl enable --now {UNIT}"
    code, output = run([program, "reload", UNIT], Deadline.after(RELOAD_S))
    if code:
        raise TsfmError(f"{UNIT} could not be reloaded: {output.strip()}; see: journalctl -u {UNIT} -n 20")
    return f"{UNIT} has taken it up; requests on their way are answered by the old process"
