"""Forecast the series of a file or of a query, and show them in the terminal or write them into files."""

from __future__ import annotations

import argparse
import json

from tsfm import settings
from tsfm.cli import arguments, many, prediction, started

PATH = "/v1/forecast"

_EPILOG = "Exit status: 0 done; 1 failed, or some series have no forecast: stderr names them with the reason."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    arguments.add_source(parser)
    arguments.add_covariates(parser)
    parser.add_argument("--family", default="fracast", metavar="F", help="default: fracast, which needs no download")
    arguments.add_horizon(parser)
    # --plot: its name when it wrote PNG alone
    arguments.add_output(parser, "also write the forecast into a file; may be repeated", "--plot")
    parser.add_argument("--json", action="store_true", help="print the predictions as JSON")


def run(args: argparse.Namespace) -> int:
    card = arguments.forecaster(args.family)
    chosen = settings.read(card.name, {})
    series = arguments.read_series(args, args.horizon, args.covariate)
    levels = prediction.quantile_levels(args.level)
    parameters = {"prediction_length": args.horizon, "quantile_levels": levels}
    with started.running(card, chosen) as (service, facts):
        limits = many.Limits.of(facts)
        limits.check(args.horizon)
        results = many.send(
            many.Operation(service, PATH, parameters, limits, chosen.deadline_s),
            series,
            lambda one, entry: prediction.read(one, entry, args.horizon, levels),
        )
    # Imported here: it needs the command line's environment, in which this process runs by now.
    from tsfm.cli.output import files
    from tsfm.cli.output.forecasts import Forecasts

    document = Forecasts(card.name, args.level, results)
    for path in args.output:
        files.write(path, document)
    print(json.dumps(document.fields(), indent=2, ensure_ascii=False) if args.json else document.text())
    return 0 if len(document.found) == len(results) else 1
