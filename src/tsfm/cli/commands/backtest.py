"""Score forecasts of the newest part of a source, which is hidden from the families, beside seasonal naive's."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tsfm.cli import arguments, entrants, instances, many, prediction, scores
from tsfm.cli.entrants import Service
from tsfm.cli.prediction import Failure
from tsfm.cli.scores import Tried
from tsfm.errors import TsfmError

if TYPE_CHECKING:  # pandas is in the command line's environment, not in the system's
    from tsfm.cli.source.series import Series

PATH = "/v1/cross_validation"

_EPILOG = """\
MASE: error in units of the steps from season to season, below 1 is better than those. WQL: weighted quantile loss.
COVERAGE: share of the hidden points within the interval. MEMORY: the most that the service has had. Exit status: 0
done; 1 failed, or some series or families have no scores: stderr or the table says why.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    arguments.add_source(parser)
    arguments.add_covariates(parser)
    parser.add_argument(
        "--family",
        default="fracast",
        metavar="F,...|all",
        help="one or more, default: fracast; all: each one that runs, or is installed with its weights and fits into "
        "memory: those are started one after the other",
    )
    arguments.add_horizon(parser)
    parser.add_argument("--windows", type=arguments.steps, default=3, metavar="N", help="forecasts a series, default 3")
    parser.add_argument("--step", type=arguments.steps, metavar="N", help="rows between them, default: the horizon")
    parser.add_argument("--season", type=arguments.steps, metavar="N", help="rows of a season, default: found")
    arguments.add_output(parser, "also write the scores of each series into a file, and its plots; may be repeated")
    parser.add_argument("--json", action="store_true", help="print the scores as JSON")


def run(args: argparse.Namespace) -> int:
    entrants.chosen(args.family)  # a wrong name is told before anything is read
    series = arguments.read_series(args, 0, args.covariate)
    found = entrants.each(args.family, lambda service: _backtest(service, args, series))
    if not found.tried:
        reasons = "".join(f"; {one.family}: {one.reason}" for one in found.absent)
        raise TsfmError(f"no family that forecasts runs on this host or can be started{reasons}")
    # Imported here: it needs the command line's environment, in which this process runs by now.
    from tsfm.cli.output import files
    from tsfm.cli.output.comparison import Comparison

    runs = scores.rank(found.tried, prediction.quantile_levels(args.level), args.horizon)
    document = Comparison(runs, found.absent, args.level, args.horizon)
    for path in args.output:
        files.write(path, document)
    print(json.dumps(document.summary(), indent=2, ensure_ascii=False) if args.json else document.text())
    return 1 if found.failed or any(isinstance(one, Failure) for run in runs for one in run.results) else 0


def _backtest(service: Service, args: argparse.Namespace, series: Sequence[Series | Failure]) -> Tried:
    levels = prediction.quantile_levels(args.level)
    parameters = {"prediction_length": args.horizon, "quantile_levels": levels, "n_windows": args.windows}
    parameters |= {"step_size": args.step or args.horizon, "season_length": args.season}
    limits = many.Limits.of(service.facts)
    limits.check(args.horizon)
    each = replace(limits, max_series=limits.max_series // args.windows)  # each window counts as a series
    operation = many.Operation(service.target, PATH, parameters, each, service.deadline_s)
    began = time.monotonic()
    results = many.send(operation, series, lambda one, entry: scores.read(one, entry, levels))
    seconds = time.monotonic() - began
    return Tried(service.target.card.name, results, seconds, instances.peak_mib(service.target))
