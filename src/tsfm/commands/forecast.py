"""Forecast a column of a CSV file and draw it in the terminal."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from tsfm import chart, client, families, settings
from tsfm.errors import TsfmError, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE.csv", help="a CSV file with a header line, oldest row first")
    parser.add_argument("--family", default="fracast", metavar="F", help="default: fracast, which needs no download")
    parser.add_argument("--horizon", type=int, default=24, metavar="N", help="steps to forecast, default 24")
    parser.add_argument("--column", metavar="C", help="the column's name; default: the last one")
    parser.add_argument("--level", type=float, default=0.8, metavar="P", help="the interval's probability, default 0.8")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw into a file too; needs matplotlib")


def run(args: argparse.Namespace) -> int:
    card = families.find(args.family)
    values = read_column(args.file, args.column)
    body: dict[str, object] = {"input": values, "next_len": args.horizon, "conf_interval": args.level}
    chosen = settings.read(card.name, {})
    with client.running(card, chosen) as base:
        answer = client.ask(base + card.paths[0], body, chosen.deadline_s)
    median, lower, upper = (_floats(answer, name) for name in ("output", "lower", "upper"))
    history = [float("nan") if value is None else value for value in values]
    print(f"{'step':>5} {'lower':>12} {'forecast':>12} {'upper':>12}   ({args.level:.0%} interval)")
    for step, (low, mid, high) in enumerate(zip(lower, median, upper, strict=True), 1):
        print(f"{step:>5} {low:>12.6g} {mid:>12.6g} {high:>12.6g}")
    print(chart.draw(history, median, lower, upper))
    if args.plot:
        _plot(args.plot, history, median, lower, upper)
    return 0


def read_column(path: Path, name: str | None) -> list[float | None]:
    """One column of numbers; an empty cell is a missing value.

    Raises:
        UsageError: no such file or column, or a cell that is not a number (it is named).
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: {error}") from None
    if not rows:
        raise UsageError(f"{path}: expected a header line and rows, found none")
    columns = list(rows[0])
    column = name or columns[-1]
    if column not in columns:
        raise UsageError(f"--column: {path} has {', '.join(columns)}; got {column!r}")
    return [_number(row[column], f"{path}: line {line}, column {column}") for line, row in enumerate(rows, 2)]


def _number(cell: str | None, where: str) -> float | None:
    if not cell or not cell.strip():
        return None
    try:
        return float(cell)
    except ValueError:
        raise UsageError(f"{where}: expected a number, got {cell[:40]!r}") from None


def _floats(answer: dict[str, object], name: str) -> list[float]:
    values = answer.get(name)
    if not isinstance(values, list):
        raise TsfmError(f"the service answered without {name}")
    return values


def _plot(path: Path, history: list[float], median: list[float], lower: list[float], upper: list[float]) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("--plot: needs the Python package matplotlib, which is not installed") from None
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.add_subplot()
    shown = history[-8 * len(median) :]
    ahead = range(len(shown), len(shown) + len(median))
    axes.plot(shown, color="black", label="history")
    axes.plot(ahead, median, color="tab:blue", label="forecast")
    axes.fill_between(ahead, lower, upper, color="tab:blue", alpha=0.25, label="interval")
    axes.legend()
    figure.savefig(path)
