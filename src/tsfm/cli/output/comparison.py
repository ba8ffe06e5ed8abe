"""The scores of backtests, as a table, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tsfm.cli.output import columns
from tsfm.cli.prediction import Failure
from tsfm.cli.scores import Run, Scored, Scores
from tsfm.errors import UsageError

NAIVE = "seasonal naive"
NAMES = ("mase", "rmsse", "wql", "coverage")


def table(runs: Sequence[Run], level: float) -> str:
    """One line for each family and one for seasonal naive, over all series."""
    best = max(runs, key=lambda run: sum(isinstance(one, Scored) for one in run.results))
    found = [one for one in best.results if isinstance(one, Scored)]
    windows = [window for one in found for window in one.windows]
    titles = ("MODEL", "MASE", "WQL", f"COVERAGE OF {100 * level:.6g} %", "SECONDS")
    rows = [_row(run.family, run.scores, f"{run.seconds:.1f}") for run in runs]
    seasons = sorted({one.season_length for one in found})
    shown = f"season of {seasons[0]} rows" if len(seasons) == 1 else f"seasons of {seasons[0]} to {seasons[-1]} rows"
    count = f"{len(found)} series, {len(windows)} forecasts, {shown}"
    return "\n".join((columns.text([titles, *rows, _row(NAIVE, best.naive, "")]), count))


def fields(runs: Sequence[Run], with_windows: bool = False) -> list[dict[str, object]]:
    """The facts of each family: over all series, and for each."""
    return [
        {
            "family": run.family,
            "seconds": round(run.seconds, 3),
            "metrics": asdict(run.scores),
            "seasonal_naive": asdict(run.naive),
            "series": [_series(one, with_windows) for one in run.results],
        }
        for run in runs
    ]


def write(path: Path, runs: Sequence[Run]) -> None:
    """Write the scores of each series into a file; its suffix tells the format.

    Raises:
        UsageError: it cannot be written.
    """
    if path.suffix.lower() == ".json":
        text = json.dumps(fields(runs, with_windows=True), ensure_ascii=False, indent=1) + "\n"
    else:
        text = _csv(runs)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--output: {path} cannot be written: {error.strerror or error}") from None


def _row(name: str, scores: Scores, seconds: str) -> tuple[str, ...]:
    coverage = "-" if scores.coverage is None else f"{100 * scores.coverage:.1f} %"
    return name, _short(scores.mase), _short(scores.wql), coverage, seconds


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _series(one: Scored | Failure, with_windows: bool) -> dict[str, object]:
    if isinstance(one, Failure):
        return {"item_id": one.item_id, "error": one.reason}
    windows = {"windows": one.windows} if with_windows else {}
    scores = {"metrics": asdict(one.scores), "seasonal_naive": asdict(one.naive)}
    return {"item_id": one.series.item_id, "season_length": one.season_length, **scores, **windows}


def _csv(runs: Sequence[Run]) -> str:
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    lines.writerow(("family", "item_id", "season_length", *NAMES, *(f"seasonal_naive_{name}" for name in NAMES)))
    for run in runs:
        for one in run.results:
            if isinstance(one, Scored):
                values = [getattr(scores, name) for scores in (one.scores, one.naive) for name in NAMES]
                lines.writerow((run.family, one.series.item_id, one.season_length, *values))
    return written.getvalue()
