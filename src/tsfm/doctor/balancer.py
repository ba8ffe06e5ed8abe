"""Checks the balancer: its file, its unit, and every host behind it."""

from __future__ import annotations

from collections.abc import Iterator

from tsfm.doctor import finding
from tsfm.doctor.finding import Finding
from tsfm.doctor.units import Unit
from tsfm.fleet import apply, haproxy, hosts
from tsfm.fleet.balancer import UNIT, Balancer
from tsfm.fleet.hosts import HostState

_APPLY = "run: tsfm balancer apply"


def check(balancer: Balancer, units: dict[str, Unit] | None) -> Iterator[Finding]:
    """The file, the unit, then one finding for each family."""
    text = apply.current()
    if text is None:
        yield finding.broken("balancer", f"[balancer] of tsfm.ini is not applied: no {apply.FILE}", _APPLY)
    elif text != haproxy.configuration(balancer):
        yield finding.broken("balancer", f"{apply.FILE} is older than [balancer] of tsfm.ini", _APPLY)
    else:
        yield finding.ok("balancer", f"{apply.FILE} agrees with tsfm.ini")
    if units is not None:
        yield _unit(units.get(UNIT))
    states = hosts.look(balancer)
    for family in balancer.families:
        yield from _family(family, [one for one in states if one.family == family])


def _unit(unit: Unit | None) -> Finding:
    if unit is None or not unit.loaded:
        return finding.broken(
            "balancer", f"there is no {UNIT} on this host", "install the package: apt install taos-tsfm-balancer"
        )
    if unit.active != "active":
        return finding.broken("balancer", f"{UNIT} does not run", f"run: systemctl enable --now {UNIT}")
    if not unit.enabled:
        return finding.warning("balancer", f"{UNIT} will not run after a reboot", f"run: systemctl enable {UNIT}")
    return finding.ok("balancer", f"{UNIT} runs")


def _family(family: str, states: list[HostState]) -> Iterator[Finding]:
    lost = [one for one in states if one.trouble]
    ready = len(states) - len(lost)
    level = finding.warning if ready else finding.broken
    for one in lost:
        text = f"{ready} of {len(states)} hosts are ready: {one.trouble}"
        yield level(family, text, f"on {one.host} run: tsfm doctor")
    serves = {one.serves: one.host for one in states if one.serves}
    if len(serves) > 1:
        text = "; ".join(f"{host} serves {what}" for what, host in serves.items())
        yield finding.warning(family, f"the same request may get different answers: {text}", "make the hosts alike")
    elif not lost:
        yield finding.ok(family, f"ready on {', '.join(one.host for one in states)}")
