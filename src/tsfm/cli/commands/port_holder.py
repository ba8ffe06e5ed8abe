"""After a failed start: say which process holds the family's port, if one does.

The unit runs this outside the service's sandbox, in which other processes cannot be seen.
"""

from __future__ import annotations

import argparse
import os
import sys

from tsfm import families, settings
from tsfm.errors import ConfigError
from tsfm.system import ports


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("family", metavar="FAMILY", help="one of `tsfm list`")


def run(args: argparse.Namespace) -> int:
    # systemd tells how the service ended; asked by hand there is no such word.
    if os.environ.get("EXIT_STATUS", str(ConfigError.exit_code)) != str(ConfigError.exit_code):
        return 0
    try:
        card = families.find(args.family)
        port = settings.read(card.name, {}).port or card.port
    except ConfigError:
        return 0  # that is why the service ended, and it has said so itself
    if holder := ports.holder(port):
        level = "<3>" if "JOURNAL_STREAM" in os.environ else ""
        print(f"{level}port {port} is held by {holder}", file=sys.stderr)
    return 0
