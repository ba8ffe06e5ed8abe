"""The options that `tsfm forecast`, `backtest` and `detect` share: where series come from, where results go."""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tsfm import card as cards
from tsfm import families, paths
from tsfm.card import Card
from tsfm.errors import ConfigError, UsageError
from tsfm.system import handover

if TYPE_CHECKING:  # pandas is in the command line's environment, not in the system's
    from tsfm.cli.prediction import Failure
    from tsfm.cli.source.series import Series

MOST_STEPS = 1024
MOST_ROWS = 10_000_000  # the largest max_rows of tsfm.ini
MOST_NOTES = 5
SUFFIXES = (".csv", ".json", ".parquet", ".png", ".html")  # of --output


def add_source(parser: argparse.ArgumentParser) -> None:
    """The source, and which of its columns is what."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        nargs="?",
        help="a CSV, Parquet or xlsx file with one row for each step; - is standard input",
    )
    parser.add_argument(
        "--sql",
        metavar="SELECT",
        help="the source is a query's result, through taosAdapter ([tdengine] in tsfm.ini)",
    )
    parser.add_argument("--id", metavar="C", help="column that names the series of a row; default: one series")
    parser.add_argument("--time", metavar="C", help="column of times; default: detected")
    parser.add_argument(
        "--column",
        metavar="C",
        help="column of values, by name, or by number from 1; default: the last one with numbers that change",
    )
    _add_form(parser)


def add_covariates(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--covariate",
        metavar="past:C|future:C",
        type=_covariate,
        action="append",
        default=[],
        help="column of a covariate; future: its rows go on after the last value; may be repeated",
    )


def _add_form(parser: argparse.ArgumentParser) -> None:
    """What is known of the file's form."""
    parser.add_argument("--sheet", metavar="NAME", help="sheet of a workbook; default: the first one with cells")
    parser.add_argument(
        "--separator",
        type=_separator,
        metavar="S",
        help="separator of the cells: one character, or tab; default: detected",
    )
    parser.add_argument("--decimal", choices=(".", ","), help="decimal sign; default: detected")
    parser.add_argument(
        "--encoding", metavar="E", help="encoding of the file, such as utf-8, gb18030 or cp1252; default: detected"
    )
    parser.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="whether the first row contains names; default: detected",
    )


def add_horizon(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--horizon", type=steps, default=24, metavar="N", help="steps to forecast, default 24")
    add_level(parser, 0.8, "probability of the interval")


def add_level(parser: argparse.ArgumentParser, default: float, what: str) -> None:
    parser.add_argument("--level", type=_level, default=default, metavar="P", help=f"{what}, default {default}")


def forecaster(name: str) -> Card:
    """The card of a family that forecasts.

    Raises:
        UsageError: it fills gaps.
    """
    card = families.find(name)
    if card.task != "forecast":
        raise UsageError(
            f"--family: {card.name} fills gaps and does not forecast; these do: {', '.join(forecasters())}"
        )
    return card


def forecasters() -> list[str]:
    return [name for name in cards.names(packaged_only=True) if cards.read(name).task == "forecast"]


def read_series(
    args: argparse.Namespace, horizon: int, covariates: Sequence[tuple[str, str]] = ()
) -> list[Series | Failure]:
    """The series of the source; what a person should know about them goes to stderr.

    Raises:
        UsageError, ConfigError: there is no source, or it cannot be read, or a file of --output cannot be written.
    """
    if (args.source is None) == (args.sql is None):
        raise UsageError("expected one source: SOURCE (a file, or - for standard input), or --sql SELECT")
    enter_environment(args.words)
    from tsfm.cli.output import files
    from tsfm.cli.source import load, series
    from tsfm.table.column import Options

    files.check(args.output)
    options = Options(
        column=args.column,
        separator=args.separator,
        decimal=args.decimal,
        encoding=args.encoding,
        header=args.header,
    )
    source = load.query(args.sql, options) if args.sql else load.file(args.source, options, args.sheet)
    found = series.read(source, series.Choice(args.id, covariates, horizon, args.time))
    _print_notes(source.name, [one for one in found if isinstance(one, series.Series)], len(found))
    return found


def _print_notes(name: str, found: Sequence[Series], count: int) -> None:
    """Write the notes; of many series only the first ones."""
    notes = [
        f"tsfm: {name}: {note}" if count == 1 else f"tsfm: {name}: {one.item_id}: {note}"
        for one in found
        for note in one.column.notes
    ]
    for note in notes[:MOST_NOTES] if count > 1 else notes:
        print(note, file=sys.stderr)
    if count > 1 and len(notes) > MOST_NOTES:
        print(f"tsfm: {name}: {len(notes) - MOST_NOTES} further notes of this kind", file=sys.stderr)


def enter_environment(words: Sequence[str]) -> None:
    """Continue in the command line's environment, which has pandas, unless this environment has it too."""
    if importlib.util.find_spec("pandas"):
        return
    python = paths.COMMAND_LINE / "bin" / "python"
    if python.exists():
        handover.enter(python, words)
    raise ConfigError(f"pandas, which reads tables, is missing in {paths.COMMAND_LINE}: install taos-tsfm-runtime")


def add_output(parser: argparse.ArgumentParser, what: str, *names: str) -> None:
    """The option --output, which may be repeated.

    Args:
        what: its help.
        names: further names of the option.
    """

    def read(text: str) -> Path:
        path = Path(text)
        if path.suffix.lower() not in SUFFIXES:
            raise argparse.ArgumentTypeError(f"expected a name that ends with one of {', '.join(SUFFIXES)}, got {text}")
        return path

    words = f"{what}; by its suffix: {', '.join(SUFFIXES)}"
    parser.add_argument("--output", *names, type=read, action="append", default=[], metavar="FILE", help=words)


def steps(text: str) -> int:
    """A number of steps on the command line."""
    return _whole(text, MOST_STEPS)


def rows(text: str) -> int:
    """A number of rows on the command line."""
    return _whole(text, MOST_ROWS)


def _whole(text: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {most}, got {text}")
    return int(text)


def _level(text: str) -> float:
    expected = f"expected a number from 0 to below 1, got {text}"
    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        value = float(number.replace(",", "."))
    except ValueError:
        raise argparse.ArgumentTypeError(expected) from None
    if 1 <= value < 100 or (percent and 0 <= value < 100):
        raise argparse.ArgumentTypeError(f"{expected} (did you mean {value / 100:g}?)")
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(expected)
    return value


def _covariate(text: str) -> tuple[str, str]:
    kind, colon, name = text.partition(":")
    if kind not in ("past", "future") or not colon or not name:
        raise argparse.ArgumentTypeError(f"expected past:COLUMN or future:COLUMN, got {text}")
    return kind, name


def _separator(text: str) -> str:
    from tsfm.table import rows as lines

    try:
        return lines.separator(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
