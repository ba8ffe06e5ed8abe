"""Show the journal of a family's service and of its download."""

from __future__ import annotations

import argparse
import os
import shutil

from tsfm import families, paths
from tsfm.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "The command runs journalctl; a user who is not in its groups sees nothing of other users."
    parser.add_argument("family", metavar="FAMILY", help="one of `tsfm list`")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with new lines as they come")
    parser.add_argument("-n", "--lines", metavar="N", help="the newest N lines, or all; default with -f: 10")
    parser.add_argument("--since", metavar="TIME", help="lines since a time: today, '2 hours ago', '2026-03-01 12:00'")


def run(args: argparse.Namespace) -> int:
    card = families.find(args.family)
    journalctl = shutil.which("journalctl")
    if journalctl is None or not (paths.ROOT / "run/systemd/system").is_dir():
        raise ConfigError(
            f"systemd does not run here, so there is no journal of tsfm@{card.name}; "
            "a service that was started by hand writes to its own stderr"
        )
    words = [journalctl, "--unit", f"tsfm@{card.name}", "--unit", f"tsfm-pull@{card.name}"]
    words += ["--follow"] if args.follow else []
    words += [f"--lines={args.lines}"] if args.lines else []
    words += [f"--since={args.since}"] if args.since else []
    os.execv(journalctl, words)  # noqa: S606
