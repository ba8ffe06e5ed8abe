"""Checks the path from SQL to our services: TDgpt, the registration, its anode, and the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tsfm.doctor import finding
from tsfm.doctor.finding import Finding
from tsfm.doctor.units import Unit
from tsfm.errors import ConfigError
from tsfm.system.subprocesses import Deadline
from tsfm.tdgpt import adapters, anode, database, reconcile, rest
from tsfm.tdgpt.endpoints import Endpoint
from tsfm.tdgpt.host import UNIT, Tdgpt

PATH_UNIT = "tsfm-register.path"


def check(found: Tdgpt | None, endpoints: Sequence[Endpoint], units: dict[str, Unit] | None) -> Iterator[Finding]:
    """TDgpt first; without it nothing else can be checked."""
    if found is None:
        yield finding.note("TDgpt", "not on this host", "once it is installed run: tsfm register")
        return
    configs = ", ".join(map(str, found.configs)) or "without a configuration"
    yield finding.ok("TDgpt", f"{found.generation or 'unknown generation'}, {configs}")
    yield from _registration()
    yield from _anode(found, endpoints, units)
    yield from _database()
    if units is not None:
        yield _watch(units.get(PATH_UNIT))


def _registration() -> Iterator[Finding]:
    outcome = reconcile.register(dry=True)
    for line in outcome.refused:
        yield finding.broken("registration", line, "correct the file, then run: tsfm register")
    if outcome.done:
        more = f", and {len(outcome.done) - 1} more" if len(outcome.done) > 1 else ""
        yield finding.broken("registration", f"not up to date: {outcome.done[0]}{more}", "run: tsfm register")
    for line in outcome.conflicts:
        what, _, remedy = line.partition("; ")
        yield finding.broken("registration", what, remedy)
    for line in outcome.notes:
        what, _, remedy = line.partition("; ")
        yield finding.warning("registration", what, remedy)
    if not (outcome.refused or outcome.done or outcome.notes or outcome.conflicts):
        yield finding.ok("registration", "agrees with tsfm.ini")


def _anode(found: Tdgpt, endpoints: Sequence[Endpoint], units: dict[str, Unit] | None) -> Iterator[Finding]:
    unit = (units or {}).get(UNIT)
    where = f"{found.address[0]}:{found.address[1]}"
    remedy = f"run: systemctl restart {UNIT}"
    try:
        names = anode.listed(found.anode)
    except anode.AnodeError as error:
        state = f"{UNIT} is {unit.active}: " if unit and unit.loaded else ""
        yield finding.broken("anode", f"{state}{error}", error.remedy)
        return
    tasks = {endpoint.key: endpoint.task for endpoint in endpoints}
    # TDgpt may list a model under its task too: moment is listed as moment-imputation.
    missing = [k for k, task in tasks.items() if k not in names and f"{k}-{task}" not in names]
    missing += [key for key in adapters.installed(found.code, endpoints) if key not in (*names, *missing)]
    if missing:
        yield finding.broken("anode", f"{where} does not list {', '.join(missing)}", remedy)
    else:
        yield finding.ok("anode", f"{where} lists {', '.join(tasks) or 'none of our models, because none is enabled'}")


def _database() -> Iterator[Finding]:
    try:
        access = database.read()
        count = len(rest.query(access, "show anodes", Deadline.after(3)).rows)
    except ConfigError as error:
        yield finding.broken("database", str(error), f"correct [{rest.SECTION}] of tsfm.ini, or run as root")
    except rest.DatabaseError as error:
        yield finding.warning("database", str(error), f"after changes run: {database.UPDATE_COMMAND}")
    else:
        if count:
            yield finding.ok("database", f"taosAdapter at {access.host}:{access.rest_port} knows {count} anode(s)")
        else:
            yield finding.broken("database", "the database has no anode", "create one in SQL: CREATE ANODE 'HOST:6035'")


def _watch(unit: Unit | None) -> Finding:
    if unit and unit.active == "active":
        return finding.ok(PATH_UNIT, "watches for upgrades of TDgpt")
    return finding.broken(PATH_UNIT, "does not watch for TDgpt's upgrades", f"run: systemctl enable --now {PATH_UNIT}")
