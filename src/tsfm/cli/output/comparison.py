"""The scores of backtests, as text and as each format of ``--output`` needs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from tsfm.cli.output import chart, columns, plot
from tsfm.cli.output.plot import Axis, Layer, Plot, Table
from tsfm.cli.output.report import Report
from tsfm.cli.prediction import Failure, quantile_levels
from tsfm.cli.scores import Absent, Run, Scored, Scores

NAIVE = "seasonal naive"
NAMES = ("mase", "rmsse", "wql", "coverage")
HEADS = ("model", "mase", "wql", "coverage")
SHOWN_PER_STEP = 8  # points before the windows, for each step of the horizon
Points = dict[int, tuple[float, float, float]]
"""What was forecast of a row: median, lower and upper."""


@dataclass(frozen=True)
class Comparison:
    """The families with their scores, the best first, and those without.

    Attributes:
        level: probability of the interval.
        horizon: steps of a forecast.
    """

    runs: Sequence[Run]
    absent: Sequence[Absent]
    level: float
    horizon: int

    def text(self) -> str:
        """One line for each family and one for seasonal naive, over all series, and who is best by how much.

        Of one series also a chart: the best family's forecasts.
        """
        titles = ("MODEL", "MASE", "WQL", f"COVERAGE OF {100 * self.level:.6g} %", "SECONDS", "MEMORY")
        naive = _cells(NAIVE, self.runs[0].naive)
        rows = [titles, *(_row(run) for run in self.runs), (*naive, "", "")]
        rows += [(one.family, *"-----") for one in self.absent]
        lines = columns.text(rows).splitlines()
        reasons = ["", *[""] * len(self.runs), "", *(one.reason for one in self.absent)]
        parts = [f"{line}  {reason}".rstrip() for line, reason in zip(lines, reasons, strict=True)]
        parts += [self._counts(), self._best()]
        if len(self.runs[0].results) == 1:
            (one,) = _scored(self.runs[0])
            parts.append(chart.tested(one.series.column.values, _points(one, self.level)))
        return "\n".join(parts)

    def summary(self) -> list[dict[str, object]]:
        """The facts of each family: over all series, and for each."""
        return self._facts(with_windows=False)

    def fields(self) -> list[dict[str, object]]:
        """The same, with all forecasts."""
        return self._facts(with_windows=True)

    def rows(self) -> Iterator[Sequence[object]]:
        """One row for each series of each family."""
        yield "family", "item_id", "season_length", *NAMES, *(f"seasonal_naive_{name}" for name in NAMES)
        for run in self.runs:
            for one in _scored(run):
                values = [getattr(scores, name) for scores in (one.scores, one.naive) for name in NAMES]
                yield run.family, one.series.item_id, one.season_length, *values

    def report(self) -> Report:
        rows = [_row(run) for run in self.runs] + [(*_cells(NAIVE, self.runs[0].naive), "", "")]
        table = Table((*HEADS, "seconds", "memory"), rows)
        plots: list[Plot | Failure] = []
        for at, result in enumerate(self.runs[0].results):
            found = [(run.family, one) for run in self.runs if isinstance(one := run.results[at], Scored)]
            plots.append(self._plot(found) if found else _failure(result))
        plots += [Failure(one.family, one.reason) for one in self.absent]
        return Report("Backtest", plots, f"{self._counts()}; {self._best()}", table)

    def _facts(self, with_windows: bool) -> list[dict[str, object]]:
        ranked: list[dict[str, object]] = [
            {
                "family": run.family,
                "rank": rank,
                "seconds": round(run.seconds, 3),
                "memory_mib": run.memory_mib,
                "metrics": asdict(run.scores),
                "seasonal_naive": asdict(run.naive),
                "series": [_series(one, with_windows) for one in run.results],
            }
            for rank, run in enumerate(self.runs, 1)
        ]
        return ranked + [{"family": one.family, "error": one.reason} for one in self.absent]

    def _counts(self) -> str:
        """``2 series, 6 forecasts, season of 12 rows``: of the series that all families have scores of."""
        every = [{one.series.item_id for one in _scored(run)} for run in self.runs]
        found = [one for one in _scored(self.runs[0]) if one.series.item_id in set.intersection(*every)]
        seasons = sorted({one.season_length for one in found})
        if not seasons:
            return "no series has scores of every family"
        shown = f"season of {seasons[0]} rows"
        if len(seasons) > 1:
            shown = f"seasons of {seasons[0]} to {seasons[-1]} rows"
        return f"{len(found)} series, {sum(len(one.windows) for one in found)} forecasts, {shown}"

    def _best(self) -> str:
        """``best by MASE: fracast, 4.1 % below chronos, 22.3 % below seasonal naive``.

        By WQL where there is no season to compare with, as in a series that stands still.
        """
        every = {NAIVE: self.runs[0].naive} | {run.family: run.scores for run in self.runs}
        by = "mase" if all(scores.mase is not None for scores in every.values()) else "wql"
        known = sorted((value, name) for name, one in every.items() if (value := getattr(one, by)) is not None)
        if not known:
            return "there is no error to compare"
        (best, name), *others = known
        behind = [f"{100 * (1 - best / value if value else 0):.1f} % below {other}" for value, other in others]
        return f"best by {by.upper()}: {', '.join([name, *behind])}"

    def _plot(self, found: Sequence[tuple[str, Scored]]) -> Plot:
        """The history of one series, with what each family forecast of it."""
        series = found[0][1].series
        axis, column = plot.axis(series), series.column
        points = [_points(one, self.level) for _, one in found]
        first = min(min(rows) for rows in points)
        shown = min(len(axis.xs) - first + SHOWN_PER_STEP * self.horizon, len(axis.xs))
        times = column.times or [str(row) for row in range(1, len(axis.xs) + 1)]
        rows = [_cells(family, one.scores) for family, one in found] + [_cells(NAIVE, found[0][1].naive)]
        return Plot(
            name=series.item_id,
            caption=f"{column.summary()}, season of {found[0][1].season_length} rows",
            xs=axis.xs,
            timed=axis.timed,
            values=column.values,
            times=(times[-shown], times[-1]),
            layers=[_layer(family, axis, rows) for (family, _), rows in zip(found, points, strict=True)],
            table=Table(HEADS, rows),
            shown=shown,
        )


def _row(run: Run) -> tuple[str, ...]:
    memory = "-" if run.memory_mib is None else f"{run.memory_mib} MiB"
    return *_cells(run.family, run.scores), f"{run.seconds:.1f}", memory


def _cells(name: str, scores: Scores) -> tuple[str, ...]:
    coverage = "-" if scores.coverage is None else f"{100 * scores.coverage:.1f} %"
    return name, _short(scores.mase), _short(scores.wql), coverage


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _scored(run: Run) -> list[Scored]:
    return [one for one in run.results if isinstance(one, Scored)]


def _failure(one: Scored | Failure) -> Failure:
    return one if isinstance(one, Failure) else Failure(one.series.item_id, "no family has scores")


def _series(one: Scored | Failure, with_windows: bool) -> dict[str, object]:
    if isinstance(one, Failure):
        return {"item_id": one.item_id, "error": one.reason}
    windows = {"windows": one.windows} if with_windows else {}
    scores = {"metrics": asdict(one.scores), "seasonal_naive": asdict(one.naive)}
    return {"item_id": one.series.item_id, "season_length": one.season_length, **scores, **windows}


def _points(one: Scored, level: float) -> Points:
    """The forecasts by row of the series; of windows that overlap the later one."""
    levels = quantile_levels(level)
    found: Points = {}
    for window in one.windows:
        lines = [window[str(name)] for name in (0.5, levels[0], levels[-1])]
        for step, (median, lower, upper) in enumerate(zip(*lines, strict=True)):
            found[int(str(window["cutoff"])) + step] = (median, lower, upper)
    return found


def _layer(family: str, axis: Axis, points: Points) -> Layer:
    """Lines that are interrupted where no window is."""
    rows = range(min(points), max(points) + 1)
    columns_ = zip(*(points.get(row, (None, None, None)) for row in rows), strict=True)
    median, lower, upper = map(list, columns_)
    return Layer(family, [axis.xs[row] for row in rows], median, lower, upper, dashed=True)
