"""Check TDgpt, the registration, the services and the host; each problem is shown with its remedy."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict

from tsfm import paths
from tsfm.doctor import balancer, families, finding, host, link, units
from tsfm.doctor.finding import Finding, Level
from tsfm.errors import ConfigError
from tsfm.fleet import balancer as fleet_balancer
from tsfm.tdgpt import endpoints
from tsfm.tdgpt import host as tdgpt_host
from tsfm.tdgpt.listed import listed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exit status: 0 when nothing is broken, else 1. Run it as root to see all processes."
    parser.add_argument("--json", action="store_true", help="a list of objects: level, about, text, remedy")


def run(args: argparse.Namespace) -> int:
    findings = list(_look())
    if args.json:
        print(json.dumps([asdict(one) for one in findings], indent=2))
    else:
        print("\n".join(map(str, findings)))
    return 1 if any(one.level == Level.BROKEN for one in findings) else 0


def _look() -> Iterator[Finding]:
    try:
        installed, served, balanced = endpoints.installed(), endpoints.served(), fleet_balancer.read()
    except ConfigError as error:
        yield finding.broken("tsfm.ini", str(error), "correct the file")
        return
    torch = host.Torch()
    names = [families.unit_name(endpoint.family) for endpoint in installed]
    states = units.show([*names, tdgpt_host.UNIT, link.PATH_UNIT, fleet_balancer.UNIT])
    yield from link.check(tdgpt_host.find(), listed(served), states)
    if balanced:
        yield from balancer.check(balanced, states)
    if not served:
        yield finding.note("families", f"none in {paths.VENVS}", "install one: apt install taos-tsfm")
    yield from families.check(installed, states)
    yield from host.check(installed, states, torch)
