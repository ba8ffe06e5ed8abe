"""Compare a family's own network with its maker's package, on the weights of this host and on your series."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from tsfm import families, official, paths, settings
from tsfm.cli import arguments, engines
from tsfm.cli.prediction import Failure
from tsfm.errors import TsfmError

if TYPE_CHECKING:  # pandas is in the command line's environment, not in the system's
    from tsfm.cli.source.series import Series

SAMPLE, SAMPLE_ID = "meters.csv", "meter_id"

_EPILOG = """\
Each engine runs in a process of its own, one after the other; services that run are not asked. Differences are in
standard deviations of the series. Exit status: 0 the same within the bound, 1 not. Add the output to a bug report.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument(
        "family", metavar="FAMILY", help="one of `tsfm list`; needs the package taos-tsfm-FAMILY-official"
    )
    arguments.add_source(parser)
    arguments.add_covariates(parser)
    parser.set_defaults(output=[])  # it writes no file
    arguments.add_horizon(parser)
    parser.add_argument("--model-folder", metavar="D", help=settings.KEYS["model_folder"].meaning)
    parser.add_argument("--checkpoint", metavar="M", help=settings.KEYS["checkpoint"].meaning)
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "int8", "auto"),
        default="float32",
        help="number format of our network; default float32, as the makers' packages compute; auto: as it is served",
    )
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")


def run(args: argparse.Namespace) -> int:
    card = families.find(args.family)
    official.check(card.name)
    chosen = settings.read(card.name, {"model_folder": args.model_folder, "checkpoint": args.checkpoint})
    if args.source is None and args.sql is None:
        args.source, args.id = str(paths.share() / SAMPLE), SAMPLE_ID
    found = arguments.read_series(args, args.horizon, args.covariate)
    usable = [one for one in found if not isinstance(one, Failure)]
    if not usable:
        raise TsfmError("; ".join(f"{one.item_id}: {one.reason}" for one in found if isinstance(one, Failure)))
    fills = card.task == "imputation"
    sent: list[Series] = [engines.hide(one) for one in usable] if fills else usable
    question = engines.imputation() if fills else engines.forecast(args.horizon, args.level)
    theirs = engines.measure(card, chosen, "official", "float32", sent, question)
    ours = engines.measure(card, chosen, "native", args.dtype, sent, question)
    # Imported here: it needs numpy, as the command line's environment has it.
    from tsfm.cli.output import verdict

    judged = verdict.judge(card.name, sent, ours, theirs)
    print(json.dumps(judged.fields(), indent=2) if args.json else judged.text())
    return 0 if judged.same else 1
