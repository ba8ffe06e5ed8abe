"""Show the services of this host and of those behind its balancer: state, port, queue, memory and requests."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from tsfm.cli import instances
from tsfm.cli.instances import Instance
from tsfm.cli.output import columns
from tsfm.settings import authority

TITLES = ("FAMILY", "STATE", "PORT", "PID", "QUEUE", "MEMORY", "RESTARTS", "REQUESTS/S", "P99", "DETAIL")

_EPILOG = """\
The command watches for one second, for REQUESTS/S. P99 is the time within which 99 % of the requests since the start
of the service were answered. A service on another host has its address as PORT. Run it as root to see the processes of
all users. Exit status: 0.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument("--json", action="store_true", help="print the facts as JSON; null: not known")


def run(args: argparse.Namespace) -> int:
    found = instances.look()
    if args.json:
        print(json.dumps([asdict(one) for one in found], indent=2))
    elif found:
        print(columns.text([TITLES, *map(_row, found)]))
    else:
        print("no service is installed here, and none answers; tsfm serve FAMILY starts one")
    return 0


def _row(one: Instance) -> tuple[str, ...]:
    return (
        one.family,
        one.state,
        authority(one.host, one.port) if one.host else str(one.port),
        _shown(one.pid),
        _shown(one.queue),
        _shown(one.memory_mib, " MiB"),
        _shown(one.restarts),
        "-" if one.requests_per_s is None else f"{one.requests_per_s:.1f}",
        "-" if one.p99_s is None else f"{one.p99_s:g} s",
        one.detail,
    )


def _shown(value: int | None, unit: str = "") -> str:
    return "-" if value is None else f"{value}{unit}"
