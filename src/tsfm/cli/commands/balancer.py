"""Set up the balancer of this host, which spreads requests over the hosts of [balancer] in tsfm.ini."""

from __future__ import annotations

import argparse

from tsfm.errors import ConfigError
from tsfm.fleet import apply, balancer, haproxy
from tsfm.settings import BALANCER, path

_EPILOG = """\
apply writes /etc/taos/tsfm-balancer.cfg for haproxy and reloads tsfm-balancer.service if it runs. haproxy checks the
new file before it replaces the old one, and no request is lost. Exit status: 0 done, or nothing to do; 1 the unit could
not be reloaded; 78 tsfm.ini is wrong, or haproxy refuses the file.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument("action", metavar="apply", choices=["apply"], help="write and take up haproxy's configuration")
    parser.add_argument("--dry-run", action="store_true", help="print the configuration, change nothing")


def run(args: argparse.Namespace) -> int:
    configured = balancer.read()
    if configured is None:
        raise ConfigError(f"{path()}: [{BALANCER}] hosts: expected the addresses of the hosts that serve, found none")
    text = haproxy.configuration(configured)
    if args.dry_run:
        print(text, end="")
        return 0
    if apply.replace(text):
        hosts, families = ", ".join(configured.hosts), ", ".join(configured.families)
        print(f"{apply.FILE}: written: {families} at {configured.listen}, on the hosts {hosts}")
    else:
        print(f"{apply.FILE}: up to date")
    print(apply.reload())
    return 0
