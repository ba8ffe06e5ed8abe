"""Checks each installed family: its unit, its port, its weights."""

from __future__ import annotations

import http.client
import ipaddress
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from tsfm import card, official, paths, settings
from tsfm.doctor import finding
from tsfm.doctor.finding import Finding
from tsfm.doctor.units import Unit
from tsfm.errors import ConfigError
from tsfm.system import ports
from tsfm.tdgpt.endpoints import Endpoint
from tsfm.tdgpt.listed import is_listed
from tsfm.weights import checkpoints


def unit_name(family: str) -> str:
    return f"tsfm@{family}.service"


def check(endpoints: Sequence[Endpoint], units: dict[str, Unit] | None) -> Iterator[Finding]:
    """One finding for a family without problems, else one for each problem."""
    shared = Counter(endpoint.port for endpoint in endpoints)
    for endpoint in endpoints:
        unit = (units or {}).get(unit_name(endpoint.family))
        found = [*_state(endpoint, unit), *_port(endpoint, unit), *_engine(endpoint), *_weights(endpoint, unit)]
        found += [*_token(endpoint), *_allow(endpoint), *_listed(endpoint, unit)]
        if shared[endpoint.port] > 1:
            text = f"port {endpoint.port} is set for more than one family"
            found.append(finding.broken(endpoint.family, text, f"set port in [{endpoint.family}] of tsfm.ini"))
        bad = [one for one in found if one.level != finding.Level.OK]
        yield from bad or [finding.ok(endpoint.family, ", ".join(one.text for one in found))]


def _state(endpoint: Endpoint, unit: Unit | None) -> Iterator[Finding]:
    family, name = endpoint.family, unit_name(endpoint.family)
    if unit is None:
        yield finding.note(family, "installed; its state is unknown without systemd")
    elif unit.active == "failed":
        yield finding.broken(family, f"{name} failed ({unit.result})", f"see: journalctl -u {name} -n 20")
    elif unit.active in ("activating", "reloading"):
        yield finding.note(family, f"{name} is starting {unit.status}".rstrip())
    elif unit.active == "active":
        yield _ready(endpoint, name, unit)
    elif unit.enabled:
        yield finding.broken(family, f"{name} is enabled but is not running", f"run: systemctl start {name}")
    else:
        yield finding.note(family, "installed, not enabled", f"to use it: systemctl enable --now {name}")


def _ready(endpoint: Endpoint, name: str, unit: Unit) -> Finding:
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        if response.status == 200:
            return finding.ok(endpoint.family, f"{name} runs at {endpoint.url}")
        reason = str(json.loads(response.read(10_000))["error"])
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        reason = str(error) or type(error).__name__
    finally:
        connection.close()
    text = f"{name} runs, but is not ready at {settings.authority(endpoint.host, endpoint.port)}: {reason}"
    return finding.broken(endpoint.family, text, f"after a change of tsfm.ini run: systemctl restart {name}")


def _port(endpoint: Endpoint, unit: Unit | None) -> Iterator[Finding]:
    holder = ports.holder(endpoint.port)
    if holder is None:
        return
    found = re.match(r"pid (\d+) \(", holder)
    ours = f"tsfm serve {endpoint.family}" in holder or (unit and found and int(found.group(1)) == unit.pid)
    # Without root even the process of our own unit is hidden.
    hidden = found is None and unit and unit.active == "active"
    if not (ours or hidden):
        yield finding.broken(
            endpoint.family,
            f"port {endpoint.port} is in use by {holder}",
            f"stop it, or set another port in [{endpoint.family}] of tsfm.ini",
        )


def _weights(endpoint: Endpoint, unit: Unit | None) -> Iterator[Finding]:
    facts = card.read(endpoint.family)
    values = settings.read(endpoint.family, {})
    try:
        folder = checkpoints.resolve(facts, values.model_folder, values.checkpoint)
    except ConfigError as error:
        what, _, remedy = str(error).rpartition("; ")
        level = finding.broken if unit and (unit.enabled or unit.active != "inactive") else finding.note
        yield level(endpoint.family, what, remedy)
        return
    yield finding.ok(endpoint.family, f"weights {folder.name}" if folder else "weights in the package")


def _engine(endpoint: Endpoint) -> Iterator[Finding]:
    family = endpoint.family
    if settings.read(family, {}).engine == "official" and not paths.venv_python(family, "official"):
        package = paths.package(family, "official")
        exists = family in official.names()
        what = f"engine = official needs {package}" if exists else "has no official engine: its maker has no package"
        remedy = f"install {package}, or set engine = native" if exists else f"set engine = native in [{family}]"
        yield finding.broken(family, what, remedy)


def _token(endpoint: Endpoint) -> Iterator[Finding]:
    if settings.read(endpoint.family, {}).token_file:
        text = "requires a token, which TDgpt cannot send: SQL gets 401"
        yield finding.warning(endpoint.family, text, "remove token_file from tsfm.ini and use allow instead")


def _allow(endpoint: Endpoint) -> Iterator[Finding]:
    # A client that connects to an address of its own host uses that address as its source.
    networks = settings.read(endpoint.family, {}).allow
    if networks and not any(ipaddress.ip_address(endpoint.host) in network for network in networks):
        text = f"allow excludes this host: SQL gets 403, because TDgpt here connects from {endpoint.host}"
        yield finding.warning(endpoint.family, text, f"add {endpoint.host} to allow in tsfm.ini")


def _listed(endpoint: Endpoint, unit: Unit | None) -> Iterator[Finding]:
    if unit and unit.active == "active" and not is_listed(endpoint.family):
        text = "runs, but SQL does not list it: its unit is not enabled, or register = no in tsfm.ini"
        yield finding.note(endpoint.family, text, f"to have it listed: systemctl enable {unit_name(endpoint.family)}")
