"""Forecast every series of a large file, by a pool of processes; an interrupted job goes on where it ended."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

from tsfm import families, kinds, settings
from tsfm.cli import arguments
from tsfm.cli.commands import serve
from tsfm.cli.prediction import quantile_levels
from tsfm.errors import ConfigError, UsageError
from tsfm.fleet import cluster, ray_node

SUFFIXES = (".parquet", ".csv")

_EPILOG = """\
IN is a long table: the columns item_id, timestamp and target, and covariates under their own names; the rows of a
series are together. OUT has item_id, timestamp, mean and a column for each level, and error where a series has no
forecast. The numbers are those of POST /v1/forecast. No service is needed, and none is asked. Exit status: 0 done;
1 failed, or some series have no forecast.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument("source", metavar="IN", type=_table, help="a .parquet or .csv file")
    parser.add_argument(
        "target", metavar="OUT", type=_table, help="a .parquet or .csv file, which is written at the end"
    )
    parser.add_argument("--family", required=True, metavar="F", help="a family that forecasts, installed on this host")
    arguments.add_horizon(parser)
    parser.add_argument("--freq", metavar="F", help="time between two rows, such as h or 15min; default: detected")
    parser.add_argument(
        "--future",
        metavar="C,C",
        help="covariates known in advance: each series ends with --horizon rows without target",
    )
    parser.add_argument("--processes", type=_count, metavar="N", help="default: one for each CPU")
    parser.add_argument(
        "--fleet", action="store_true", help="use all free CPUs of the fleet that this host is in; the files stay here"
    )


def run(args: argparse.Namespace) -> int:
    card = families.find(args.family)
    if card.task != "forecast":
        raise UsageError(f"--family: {card.name} fills gaps and does not forecast")
    settings.read(card.name, {})
    _enter_environment(card.name, args)
    if importlib.util.find_spec("pyarrow") is None:
        raise ConfigError("pyarrow, which reads and writes the tables, is missing: install taos-tsfm-arrow")
    # Imported here, because numpy and pyarrow exist only in the family's environment.
    from tsfm.fleet import actors, batch
    from tsfm.fleet.worker import Job

    query = {
        "prediction_length": (str(args.horizon),),
        "quantile_levels": tuple(map(str, quantile_levels(args.level))),
    }
    query |= {"freq": (args.freq,)} if args.freq else {}
    query |= {"future_covariates": (args.future,)} if args.future else {}
    cpus = len(os.sched_getaffinity(0))
    if args.fleet:
        job = Job(card.name, 1, query)
        done = batch.run(args.source, args.target, job, lambda: actors.Actors(job, args.processes))
    else:
        processes = args.processes or cpus
        job = Job(card.name, max(1, cpus // processes), query)
        done = batch.run(args.source, args.target, job, lambda: batch.Processes(job, processes))
    print(f"{args.target}: written", file=sys.stderr)
    return 1 if done.failed else 0


def _enter_environment(family: str, args: argparse.Namespace) -> None:
    """Continue where the model runs, or where Ray is.

    Raises:
        ConfigError: it is not installed.
    """
    if not args.fleet:
        serve.enter_environment(family, "native", args.words)
        return
    if fleet := cluster.read():
        ray_node.enter(fleet, args.words)
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("Ray, which joins the hosts of a fleet, is missing: install taos-tsfm-fleet")


def _table(text: str) -> Path:
    if Path(text).suffix not in SUFFIXES:
        raise argparse.ArgumentTypeError(f"expected a file whose name ends in {' or '.join(SUFFIXES)}, got {text!r}")
    return Path(text)


def _count(text: str) -> int:
    try:
        return kinds.whole(1, 1024)(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
