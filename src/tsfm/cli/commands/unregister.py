"""Remove the registration from TDgpt's files, which become what they were before."""

from __future__ import annotations

import argparse

from tsfm.cli.commands import register
from tsfm.system.subprocesses import Deadline
from tsfm.tdgpt import reconcile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exit status: 0 done, or nothing to remove; 1 a file was refused and left as it is."
    parser.add_argument("--dry-run", action="store_true", help="show what would change, change nothing")
    register.add_switches(parser)


def run(args: argparse.Namespace) -> int:
    deadline = Deadline.after(register.LIMIT_S)
    outcome = reconcile.unregister(args.dry_run)
    register.report(outcome, args.json)
    if not args.dry_run and outcome.stale:
        register.follow_up(outcome, args, deadline)
    return 1 if outcome.refused else 0
