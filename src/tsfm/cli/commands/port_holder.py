"""After a failed start, show which process uses the family's port, if there is one.

The unit runs this outside the service's sandbox, because other processes are invisible inside it.
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
    # systemd sets EXIT_STATUS; a person who runs this has none.
    if os.environ.get("EXIT_STATUS", str(ConfigError.exit_code)) != str(ConfigError.exit_code):
        return 0
    try:
        card = families.find(args.family)
        port = settings.read(card.name, {}).port or card.port
    except ConfigError:
        return 0  # the service ended for this reason, and its own message says so
    if holder := ports.holder(port):
        level = "<3>" if "JOURNAL_STREAM" in os.environ else ""
        print(f"{level}port {port} is in use by {holder}", file=sys.stderr)
    return 0
