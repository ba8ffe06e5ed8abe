"""Find the unlikely points of a file or of a query, and show them in the terminal or write them into files."""

from __future__ import annotations

import argparse
import json

from tsfm import families, settings
from tsfm.cli import arguments, judgement, many, started

PATH = "/v1/anomaly_detection"
LEVEL = 0.99

_EPILOG = """\
SCORE: the level up to which a point is an anomaly, from 0 to 1. LOWER and UPPER: where the forecast from the points
before expects it. The first points have too little history: they are not judged. Exit status: 0 done, also without an
anomaly; 1 failed, or some series are not judged: stderr names them with the reason.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    arguments.add_source(parser)
    parser.add_argument("--family", default="fracast", metavar="F", help="default: fracast, which needs no download")
    arguments.add_level(parser, LEVEL, "share of ordinary points that are not flagged")
    parser.add_argument("--window", type=arguments.rows, metavar="N", help="judge the newest N rows, default: all")
    arguments.add_output(parser, "also write the judgement of each point into a file; may be repeated")
    parser.add_argument("--json", action="store_true", help="print the judgement of each point as JSON")


def run(args: argparse.Namespace) -> int:
    card = families.find(args.family)
    chosen = settings.read(card.name, {})
    series = arguments.read_series(args, 0)
    parameters = {"level": args.level, "window": args.window}
    with started.running(card, chosen) as (service, facts):
        # A point costs far more than that of a forecast's history: the first request has one series.
        limits = many.Limits.of(facts)
        operation = many.Operation(service, PATH, parameters, limits, chosen.deadline_s, first=1)
        results = many.send(operation, series, judgement.read)
    # Imported here: it needs the command line's environment, in which this process runs by now.
    from tsfm.cli.output import files
    from tsfm.cli.output.judgements import Judgements

    document = Judgements(card.name, args.level, results)
    for path in args.output:
        files.write(path, document)
    print(json.dumps(document.fields(), indent=2, ensure_ascii=False) if args.json else document.text())
    return 0 if len(document.found) == len(results) else 1
