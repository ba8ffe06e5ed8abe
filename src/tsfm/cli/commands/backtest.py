"""Score a family's forecasts of the newest part of a source, which is hidden from it, beside seasonal naive's."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tsfm import card as cards
from tsfm import settings
from tsfm.card import Card
from tsfm.cli import arguments, client, many, prediction, scores, started
from tsfm.cli.output import comparison
from tsfm.cli.prediction import Failure
from tsfm.cli.scores import Run
from tsfm.errors import ConfigError, TsfmError
from tsfm.system.loopback import Unreachable

if TYPE_CHECKING:  # pandas is in the command line's environment, not in the system's
    from tsfm.cli.source.series import Series

PATH = "/v1/cross_validation"
ALL = "all"
FILES = (".csv", ".json")

_EPILOG = """\
MASE: error in units of the steps from season to season, below 1 is better than those. WQL: weighted quantile loss.
COVERAGE: share of the hidden points within the interval. Exit status: 0 done; 1 failed, or some series have no
scores: stderr names them with the reason.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    arguments.add_source(parser)
    parser.add_argument(
        "--family", default="fracast", metavar="F|all", help="default: fracast; all: each one that runs and forecasts"
    )
    arguments.add_horizon(parser)
    parser.add_argument("--windows", type=arguments.steps, default=3, metavar="N", help="forecasts a series, default 3")
    parser.add_argument("--step", type=arguments.steps, metavar="N", help="rows between them, default: the horizon")
    parser.add_argument("--season", type=arguments.steps, metavar="N", help="rows of a season, default: found")
    arguments.add_output(
        parser, FILES, "also write the scores of each series into a file; json also holds the forecasts"
    )
    parser.add_argument("--json", action="store_true", help="print the scores as JSON")


def run(args: argparse.Namespace) -> int:
    every = args.family == ALL
    names = arguments.forecasters() if every else [arguments.forecaster(args.family).name]
    series = arguments.read_series(args, 0)
    found: list[Run] = []
    failed = False
    for card in map(cards.read, names):
        with _service(card, every) as service:
            if service is None:
                continue
            try:
                found.append(_backtest(service, args, series))
            except TsfmError as error:
                if not every:
                    raise
                print(f"tsfm: {card.name}: {error}", file=sys.stderr)
                failed = True
    if not found:
        reason = "no family that forecasts runs on this host; give one with --family, and it is started"
        raise TsfmError("no family has scores; the reasons are above" if failed else reason)
    for path in args.output:
        comparison.write(path, found)
    print(json.dumps(comparison.fields(found), indent=2) if args.json else comparison.table(found, args.level))
    return 1 if failed or any(isinstance(result, Failure) for one in found for result in one.results) else 0


def _backtest(service: Service, args: argparse.Namespace, series: Sequence[Series | Failure]) -> Run:
    levels = prediction.quantile_levels(args.level)
    parameters = {"prediction_length": args.horizon, "quantile_levels": levels, "n_windows": args.windows}
    parameters |= {"step_size": args.step or args.horizon, "season_length": args.season}
    limits = many.Limits.of(service.facts)
    limits.check(args.horizon)
    each = replace(limits, max_series=limits.max_series // args.windows)  # each window counts as a series
    operation = many.Operation(service.target, PATH, parameters, each, service.deadline_s)
    began = time.monotonic()
    results = many.send(operation, series, lambda one, entry: scores.read(one, entry, levels))
    return scores.run(service.target.card.name, results, levels, args.horizon, time.monotonic() - began)


@dataclass(frozen=True)
class Service:
    """A service that runs: where it is, its facts, and how long it may take for an answer."""

    target: client.Target
    facts: dict[str, object]
    deadline_s: float


@contextmanager
def _service(card: Card, only_running: bool) -> Iterator[Service | None]:
    """The family's service; if it does not run, None, or a service that is started and ends with the block."""
    chosen = settings.read(card.name, {})
    if not only_running:
        with started.running(card, chosen) as (target, facts):
            yield Service(target, facts, chosen.deadline_s)
        return
    try:
        target = client.target(card, chosen)
        found = Service(target, client.wait(target), chosen.deadline_s)
    except Unreachable:
        found = None
    except ConfigError as error:
        print(f"tsfm: {card.name} is left out: {error}", file=sys.stderr)
        found = None
    yield found
