"""Forecast a column of a CSV file and draw it in the terminal."""

from __future__ import annotations

import argparse
import importlib.util
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tsfm import card as cards
from tsfm import families, paths, settings
from tsfm.cli import chart, client, digits, started
from tsfm.errors import ConfigError, TsfmError, UsageError
from tsfm.system import handover

if TYPE_CHECKING:  # pandas is in the command line's environment, not in the system's
    from tsfm.table.column import Column

MOST_STEPS = 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE.csv", help="a text table with one row for each step; - is standard input")
    parser.add_argument("--family", default="fracast", metavar="F", help="default: fracast, which needs no download")
    parser.add_argument("--horizon", type=_horizon, default=24, metavar="N", help="steps to forecast, default 24")
    parser.add_argument(
        "--column",
        metavar="C",
        help="column by name, or by number from 1; default: the last one with numbers that change",
    )
    parser.add_argument(
        "--level", type=_level, default=0.8, metavar="P", help="probability of the interval, default 0.8"
    )
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
    parser.add_argument("--plot", type=Path, metavar="PNG", help="also draw the chart into a file; needs matplotlib")


def run(args: argparse.Namespace) -> int:
    card = families.find(args.family)
    if card.task != "forecast":
        able = [name for name in cards.names(packaged_only=True) if cards.read(name).task == "forecast"]
        raise UsageError(f"--family: {card.name} fills gaps and does not forecast; these do: {', '.join(able)}")
    chosen = settings.read(card.name, {})
    _enter_environment(args.words)
    column = _column(args)
    with started.running(card, chosen) as (service, facts):
        values = _sendable(column, args.horizon, facts)
        body: dict[str, object] = {"input": values, "next_len": args.horizon, "conf_interval": args.level}
        try:
            answer = client.forecast(service, body, args.horizon, chosen.deadline_s)
        except client.Refused as error:
            raise TsfmError(_in_words(str(error), column, len(values))) from None
    for warning in answer.warnings:
        print(f"tsfm: {warning}", file=sys.stderr)
    history = [math.nan if value is None else value for value in values]
    print(_table(history, answer, args.level))
    print(column.summary())
    print(chart.draw(history, answer.median, answer.lower, answer.upper))
    if args.plot:
        _plot(args.plot, history, answer)
    return 0


def _enter_environment(words: Sequence[str]) -> None:
    """Continue in the command line's environment, which has pandas, unless this environment has it too."""
    if importlib.util.find_spec("pandas"):
        return
    python = paths.COMMAND_LINE / "bin" / "python"
    if python.exists():
        handover.enter(python, words)
    raise ConfigError(f"pandas, which reads tables, is missing in {paths.COMMAND_LINE}: install taos-tsfm-runtime")


def _horizon(text: str) -> int:
    expected = f"expected a whole number from 1 to {MOST_STEPS}, got {text}"
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= MOST_STEPS:
        raise argparse.ArgumentTypeError(expected)
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


def _separator(text: str) -> str:
    from tsfm.table import rows

    try:
        return rows.separator(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _column(args: argparse.Namespace) -> Column:
    from tsfm.table import column

    options = column.Options(args.column, args.separator, args.decimal, args.encoding, args.header)
    read = column.read(args.file, options)
    for note in read.notes:
        print(f"tsfm: {read.file}: {note}", file=sys.stderr)
    return read


def _sendable(column: Column, horizon: int, facts: Mapping[str, object]) -> list[float | None]:
    """The newest values, as many as the service accepts; its facts contain its limits."""
    said = facts.get("limits")
    limits = {key: value for key, value in said.items() if type(value) is int} if isinstance(said, dict) else {}
    rows, least = len(column.values), limits.get("min_rows", 1)
    most, steps = limits.get("max_rows", rows), limits.get("max_horizon", horizon)
    if rows < least:
        raise UsageError(f"{column.file}: expected at least {least} rows, got {rows}")
    if horizon > steps:
        raise UsageError(f"--horizon: expected a whole number from 1 to {steps}, got {horizon}")
    if rows > most:
        print(f"tsfm: {column.file}: of {rows} rows the newest {most} are sent (max_rows in tsfm.ini)", file=sys.stderr)
    return column.values[-most:]


def _in_words(said: str, column: Column, sent: int) -> str:
    """The service's sentence, with lines of the file and our options instead of HTTP fields."""
    if found := re.match(r"input\[(\d+)\]", said):
        line = column.lines[-sent:][int(found[1])]
        return f"{column.file}: line {line}, column {column.name}{said[found.end() :]}"
    names = {"input": f"{column.file}: column {column.name}", "next_len": "--horizon", "conf_interval": "--level"}
    field, colon, rest = said.partition(":")
    return names.get(field, field) + colon + rest


def _table(history: Sequence[float], answer: client.Forecast, level: float) -> str:
    """One row for each step, with enough digits to distinguish the steps."""
    rows = list(zip(answer.lower, answer.median, answer.upper, strict=True))
    widths = [high - low for low, _, high in rows]
    form = digits.form(
        digits.step([*history, *answer.median], median(widths)), max(abs(v) for row in rows for v in row)
    )
    cells = [[format(value, form) for value in row] for row in rows]
    width = max(12, *(len(cell) for row in cells for cell in row))
    lines = [f"{'step':>5} {'lower':>{width}} {'forecast':>{width}} {'upper':>{width}}   ({100 * level:.6g}% interval)"]
    for step, row in enumerate(cells, 1):
        lines.append(f"{step:>5} " + " ".join(f"{cell:>{width}}" for cell in row))
    return "\n".join(lines)


def _plot(path: Path, history: Sequence[float], answer: client.Forecast) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("--plot: needs the Python package matplotlib, which is not installed") from None
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.add_subplot()
    shown = history[-8 * len(answer.median) :]
    ahead = range(len(shown), len(shown) + len(answer.median))
    axes.plot(shown, color="black", label="history")
    axes.plot(ahead, answer.median, color="tab:blue", label="forecast")
    axes.fill_between(ahead, answer.lower, answer.upper, color="tab:blue", alpha=0.25, label="interval")
    axes.legend()
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"--plot: {path} cannot be written: {error}") from None
