"""Register the enabled families with TDgpt, so that SQL can use them; it is safe to run at any time."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TextIO

from tsfm import families, paths
from tsfm.errors import ConfigError
from tsfm.system.subprocesses import Deadline
from tsfm.tdgpt import anode, database, listed, packages, reconcile, rest

LIMIT_S = 13.0  # an installation must not wait longer than 15 s
_FOR_DATABASE_S = 3.0

_EPILOG = """\
Exit status: 0 done, nothing to do, or no TDgpt here; 1 a file was refused and left as it is; 78 tsfm.ini is
wrong. If TDgpt restarts slowly or the database is down, there is a warning and no failure.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument(
        "family", metavar="FAMILY", nargs="*", help="register these as well, even if they are not enabled"
    )
    parser.add_argument("--after-packages", action="store_true", help="wait until no package manager is running")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, change nothing")
    add_switches(parser)


def add_switches(parser: argparse.ArgumentParser) -> None:
    """The options that ``tsfm unregister`` shares."""
    parser.add_argument("--json", action="store_true", help="print the changes as JSON; the restart is shown on stderr")
    parser.add_argument("--no-restart", action="store_true", help="do not restart TDgpt after a change of its files")
    parser.add_argument("--no-update", action="store_true", help="do not tell the database to ask its anodes")


def run(args: argparse.Namespace) -> int:
    also = [_installed(name) for name in args.family]
    if args.after_packages:
        packages.wait_until_done()
    deadline = Deadline.after(LIMIT_S)
    outcome = reconcile.register(args.dry_run, also)
    report(outcome, args.json)
    if not args.dry_run and outcome.stale:
        follow_up(outcome, args, deadline)
        # While this runs the path unit does not watch, and an upgrade of TDgpt may have continued.
        again = reconcile.register(also=also)
        for line in again.done:
            print(line, file=_aside(args.json))
        if again.stale:
            follow_up(again, args, deadline)
    return 1 if outcome.refused else 0


def _installed(name: str) -> str:
    """The name of a family to register by hand; warns if the next registration will remove it."""
    family = families.find(name).name
    if not paths.venv_python(family):
        raise ConfigError(f"family {family} is not installed here; install taos-tsfm-{family}")
    if not listed.is_enabled(family):
        _complain(
            f"tsfm@{family} is not enabled: the next registration removes {family} again; "
            f"to keep it: systemctl enable tsfm@{family}, or register = yes in [{family}] of tsfm.ini"
        )
    return family


def report(outcome: reconcile.Outcome, as_json: bool) -> None:
    """Print changes to stdout, and what the operator must know to stderr; as JSON all of it to stdout."""
    generation = outcome.found.generation if outcome.found else ""
    if as_json:
        facts = {key: getattr(outcome, key) for key in ("done", "notes", "conflicts", "refused", "diffs")}
        print(json.dumps({"tdgpt": generation or None, "dry_run": outcome.dry} | facts, indent=2))
        return
    for diff in outcome.diffs if outcome.dry else ():
        print(diff)
    for line in outcome.done:
        print(f"would do: {line}" if outcome.dry else line)
    for line in (*outcome.notes, *outcome.conflicts):
        _complain(line)
    for line in outcome.refused:
        _complain(f"refused: {line}")
    if outcome.found and not outcome.done and not outcome.refused:
        print(f"TDgpt{f' ({generation})' if generation else ''}: nothing to change")


def follow_up(outcome: reconcile.Outcome, args: argparse.Namespace, deadline: Deadline) -> None:
    """Restart TDgpt and update the database; a failure is one warning with the command to run later."""
    try:
        if outcome.found is None:
            return
        address = outcome.found.address
        if not args.no_restart:
            print(anode.restart(address, Deadline(deadline.at - _FOR_DATABASE_S)), file=_aside(args.json))
        if not args.no_update:
            # If one anode is down, the update of all anodes fails.
            up = anode.reachable(address)
            result = database.update_anodes(deadline) if up else f"once TDgpt runs: {database.UPDATE_COMMAND}"
            print(result, file=_aside(args.json))
    except (anode.AnodeError, rest.DatabaseError, ConfigError) as error:
        _complain(f"warning: {error}; later run: {database.UPDATE_COMMAND}")


def _aside(as_json: bool) -> TextIO:
    """Where lines go that are no part of the JSON."""
    return sys.stderr if as_json else sys.stdout


def _complain(line: str) -> None:
    level = "<4>" if "JOURNAL_STREAM" in os.environ else ""
    print(f"{level}{line}", file=sys.stderr)
