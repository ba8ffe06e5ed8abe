"""Reads the states of our units from systemd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tsfm.system import systemctl
from tsfm.system.subprocesses import Deadline, NotInTime, run

_PROPERTIES = "Id,LoadState,ActiveState,SubState,UnitFileState,MainPID,StatusText,Result,NRestarts"


@dataclass(frozen=True)
class Unit:
    """A unit's state, in systemd's own words."""

    loaded: bool
    active: str
    sub: str
    enabled: bool
    pid: int
    status: str
    result: str
    restarts: int


def show(names: Sequence[str]) -> dict[str, Unit] | None:
    """The units' states, by name; None if systemd does not run."""
    program = systemctl.find()
    if program is None:
        return None
    try:
        _, output = run([program, "show", "--property", _PROPERTIES, *names], Deadline.after(5))
    except NotInTime:
        return None
    states = (dict(line.split("=", 1) for line in part.splitlines() if "=" in line) for part in output.split("\n\n"))
    return {state["Id"]: _unit(state) for state in states if "Id" in state}


def _unit(state: dict[str, str]) -> Unit:
    return Unit(
        loaded=state.get("LoadState") == "loaded",
        active=state.get("ActiveState", ""),
        sub=state.get("SubState", ""),
        enabled=state.get("UnitFileState", "").startswith("enabled"),
        pid=int(state.get("MainPID") or 0),
        status=state.get("StatusText", ""),
        result=state.get("Result", ""),
        restarts=int(state.get("NRestarts") or 0),
    )
