"""Makes this host the head of a fleet or one of its nodes, and takes it out again. Needs root."""

from __future__ import annotations

import contextlib
import grp
import os
import secrets
import shutil
from pathlib import Path

from tsfm import inifile, paths, settings
from tsfm.errors import ConfigError, TsfmError
from tsfm.fleet.cluster import HEAD_UNIT, NODE_UNIT, Fleet
from tsfm.fleet.ray_node import STATE
from tsfm.system import atomic, systemctl
from tsfm.system.subprocesses import Deadline, run

GROUP = "tsfm"
WAIT_S = 60.0


def configure(head: str, network: str | None) -> None:
    """Write head and network into [fleet] of tsfm.ini, where they are not set.

    Raises:
        ConfigError: the file says otherwise, or cannot be written.
    """
    file = settings.path()
    section = settings.sections_of(file).get(settings.FLEET)
    there = section.keys if section else {}
    lacking = []
    for key, value in (("head", head), ("network", network)):
        if key in there and value and there[key].value != value:
            raise ConfigError(
                f"{file}: line {there[key].line}: [{settings.FLEET}] {key}: expected {value}, as the command says, got "
                f"{there[key].value!r}; change one of them"
            )
        if key not in there and value:
            lacking.append(f"{key} = {value}\n")
    if lacking:
        _insert(file, section, lacking)


def _insert(file: Path, section: inifile.Section | None, lines: list[str]) -> None:
    text = file.read_text(encoding="utf-8-sig") if file.exists() else ""
    before = text.splitlines(keepends=True)
    if section:
        before[section.line : section.line] = lines
    else:
        before += [*(["\n"] if before else []), f"[{settings.FLEET}]\n", *lines]
    atomic.write(file, "".join(before))


def make_token(fleet: Fleet) -> bool:
    """Make the fleet's token, readable for the user of the units; False: there is one.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        descriptor = os.open(fleet.token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    except FileExistsError:
        fleet.token()
        return False
    except OSError as error:
        raise ConfigError(f"{fleet.token_file}: cannot be written: {error.strerror}; run this as root") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32) + "\n")
    protect(fleet)
    return True


def protect(fleet: Fleet) -> None:
    """Let the user of the units read the token, and nobody else but root.

    Raises:
        ConfigError: its owner or mode cannot be changed.
    """
    try:
        fleet.token_file.chmod(0o640)
        if any(one.gr_name == GROUP for one in grp.getgrall()):  # in development there is no such group, nor its units
            shutil.chown(fleet.token_file, group=GROUP)
    except OSError as error:
        raise ConfigError(f"{fleet.token_file}: cannot be given to the group {GROUP}: {error}") from None


def begin(fleet: Fleet) -> str:
    """Open the unit to the fleet's network, and start it, now and at boot; the sentence says what runs.

    Raises:
        TsfmError: systemd does not run here, or the unit does not start.
    """
    unit = HEAD_UNIT if fleet.is_head else NODE_UNIT
    file = _drop_in(unit)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{file.parent}: cannot be made: {error.strerror}; run this as root") from None
    allowed = " ".join(map(str, fleet.network))
    atomic.write(
        file, f"# Written by tsfm fleet, from [fleet] network in tsfm.ini.\n[Service]\nIPAddressAllow={allowed}\n"
    )
    _systemctl("daemon-reload")
    _systemctl("enable", unit)
    _systemctl("restart", unit)
    return f"{unit} runs, at {fleet.address}, with {fleet.cpus} CPUs for replicas"


def end(fleet: Fleet) -> str:
    """Stop the unit of this host, now and at boot; the sentence says so.

    Raises:
        TsfmError: systemd does not run here, or the unit does not stop.
    """
    unit = HEAD_UNIT if fleet.is_head else NODE_UNIT
    _systemctl("disable", "--now", unit)
    ours = _drop_in(unit)
    ours.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the operator's own drop-ins stay, and so does their folder
        ours.parent.rmdir()
    if fleet.is_head:  # its memory of a fleet that is no more
        shutil.rmtree(STATE / "gcs", ignore_errors=True)
    _systemctl("daemon-reload")
    return f"{unit} is stopped, and does not start at boot"


def _drop_in(unit: str) -> Path:
    return paths.ROOT / "etc/systemd/system" / f"{unit}.d" / "network.conf"


def _systemctl(*words: str) -> None:
    program = systemctl.find()
    if program is None:
        raise TsfmError("systemd does not run here: start `tsfm fleet run` by another supervisor, as the user tsfm")
    code, output = run([program, *words], Deadline.after(WAIT_S))
    if code:
        raise TsfmError(f"systemctl {' '.join(words)}: {output.strip()}; see: journalctl -u {words[-1]} -n 20")
