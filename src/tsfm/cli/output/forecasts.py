"""Forecasts, as each format of ``--output`` needs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tsfm.cli.output import digits, plot, terminal
from tsfm.cli.output.files import TIME
from tsfm.cli.output.plot import Layer, Plot, Table
from tsfm.cli.output.report import Report
from tsfm.cli.output.terminal import history_of
from tsfm.cli.prediction import Failure, Prediction

SHOWN_PER_STEP, LEAST_SHOWN = 8, 96  # points of history beside a horizon


@dataclass(frozen=True)
class Forecasts:
    """What a family forecasts, in the order of the series; ``level`` is the probability of the interval."""

    family: str
    level: float
    results: Sequence[Prediction | Failure]

    @property
    def found(self) -> list[Prediction]:
        return [one for one in self.results if isinstance(one, Prediction)]

    def text(self) -> str:
        """The steps of one series with a chart, or one line for each of many."""
        return terminal.one(self.found[0], self.level) if len(self.results) == 1 else terminal.many(self.found)

    def fields(self) -> dict[str, object]:
        """The predictions as /v1/forecast gives them, with the times of the steps."""
        return {"predictions": [_entry(one) for one in self.results]}

    def rows(self) -> Iterator[list[object]]:
        """One row for each step of each series. A series without a forecast has none."""
        found = self.found
        levels = sorted({level for one in found for level in one.quantiles})
        timed = any(one.series.ahead for one in found)
        yield ["item_id", TIME if timed else "step", "mean", *(f"{level:g}" for level in levels)]
        for one in found:
            columns = [one.quantiles[level] for level in levels]
            steps = one.steps if timed else range(1, len(one.mean) + 1)
            for step, mean, *values in zip(steps, one.mean, *columns, strict=True):
                yield [one.series.item_id, step, mean, *values]

    def report(self) -> Report:
        name = f"{self.family}, {100 * self.level:.6g} %"
        plots = [one if isinstance(one, Failure) else _plot(one, name) for one in self.results]
        return Report(f"Forecast by {self.family}", plots)


def _entry(result: Prediction | Failure) -> dict[str, object]:
    if isinstance(result, Failure):
        return {"item_id": result.item_id, "error": result.reason}
    times = {"timestamps": result.series.ahead} if result.series.ahead else {}
    quantiles = {f"{level:g}": values for level, values in result.quantiles.items()}
    return {"item_id": result.series.item_id, **times, "mean": result.mean, **quantiles}


def _plot(one: Prediction, name: str) -> Plot:
    axis = plot.axis(one.series, len(one.mean))
    shown = min(max(SHOWN_PER_STEP * len(one.mean), LEAST_SHOWN), len(axis.xs))
    times = one.series.column.times
    return Plot(
        name=one.series.item_id,
        caption=one.series.column.summary(),
        xs=axis.xs,
        timed=axis.timed,
        values=one.series.column.values,
        times=(times[-shown] if times else str(1 - shown), one.steps[-1]),
        layers=[Layer(name, axis.ahead, one.median, one.lower, one.upper)],
        table=_table(one),
        shown=shown,
    )


def _table(one: Prediction) -> Table:
    levels = sorted(one.quantiles)
    columns = [one.mean, *(one.quantiles[level] for level in levels)]
    every = [value for column in columns for value in column]
    form = digits.form(digits.step([*history_of(one), *one.median]), max(map(abs, every)))
    names = ["time" if one.series.ahead else "step", "mean", *(f"{level:g}" for level in levels)]
    rows = [(step, *(f"{v:{form}}" for v in row)) for step, *row in zip(one.steps, *columns, strict=True)]
    return Table(names, rows)
