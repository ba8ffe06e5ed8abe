"""Judgements of points, as text and as each format of ``--output`` needs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from tsfm.cli.judgement import Judgement
from tsfm.cli.output import chart, columns, digits, plot
from tsfm.cli.output.files import TIME
from tsfm.cli.output.plot import Layer, Plot, Table
from tsfm.cli.output.report import Report
from tsfm.cli.prediction import Failure
from tsfm.cli.source import clock


@dataclass(frozen=True)
class Judgements:
    """What a family says of the points of series, in the order of the series."""

    family: str
    level: float
    results: Sequence[Judgement | Failure]

    @cached_property
    def found(self) -> list[Judgement]:
        return [one for one in self.results if isinstance(one, Judgement)]

    def text(self) -> str:
        """The anomalies with their series, and how many points are judged; of one series also a chart."""
        tables = [_table(one) for one in self.found]
        names = ["SERIES", "TIME" if any(one.series.column.times for one in self.found) else "ROW"]
        names += ["VALUE", "EXPECTED", "LOWER", "UPPER", "SCORE"]
        rows: list[Sequence[str]] = [names]
        for one, table in zip(self.found, tables, strict=True):
            rows += [(one.series.item_id, *row) for row in table.rows]
        parts = [columns.text(rows)] if len(rows) > 1 else []
        parts.append(_counts(self.found))
        if len(self.results) == 1:
            (only,) = self.found
            parts += [only.series.column.summary(), chart.judged(only.series.column.values, only.flagged)]
        return "\n".join(parts)

    def fields(self) -> dict[str, object]:
        """The judgements as /v1/anomaly_detection gives them, with the times of the points."""
        return {"predictions": [_entry(one) for one in self.results]}

    def rows(self) -> Iterator[list[object]]:
        """One row for each point of each series. A series that is not judged has none."""
        timed = any(one.series.column.times for one in self.found)
        yield ["item_id", TIME if timed else "row", "value", "anomaly", "score", "expected", "lower", "upper"]
        for one in self.found:
            values = one.series.column.values
            times: Sequence[object] = _times(one) if timed else range(1, len(values) + 1)
            numbers = (one.anomaly, one.score, one.expected, one.lower, one.upper)
            for row in zip(times, values, *numbers, strict=True):
                yield [one.series.item_id, *row]

    def report(self) -> Report:
        interval = f"{self.family}, {100 * self.level:.6g} %"
        plots = [one if isinstance(one, Failure) else _plot(one, interval) for one in self.results]
        return Report(f"Anomalies found by {self.family}", plots)


def _counts(found: Sequence[Judgement]) -> str:
    """``3 anomalies among 716 judged points; not judged: 16, without a value: 2``."""
    flagged, judged = sum(len(one.flagged) for one in found), sum(one.judged for one in found)
    unjudged, missing = sum(one.unjudged for one in found), sum(one.missing for one in found)
    anomalies = f"{flagged} anomal{'y' if flagged == 1 else 'ies'} among {judged} judged points"
    series = f" of {len(found)} series" if len(found) > 1 else ""
    return f"{anomalies}{series}; not judged: {unjudged}, without a value: {missing}"


def _entry(result: Judgement | Failure) -> dict[str, object]:
    if isinstance(result, Failure):
        return {"item_id": result.item_id, "error": result.reason}
    times = {"timestamps": _times(result)} if result.series.column.times else {}
    numbers = {"expected": result.expected, "lower": result.lower, "upper": result.upper}
    return {"item_id": result.series.item_id, **times, "anomaly": result.anomaly, "score": result.score, **numbers}


def _times(one: Judgement) -> list[str]:
    """The time of each point, or its row from 1."""
    return clock.past(one.series.column) or [str(row) for row in range(1, len(one.anomaly) + 1)]


def _table(one: Judgement) -> Table:
    """The anomalies."""
    values = one.series.column.values
    known, forecast = ([value for value in column if value is not None] for column in (values, one.expected))
    form = digits.form(digits.step(known, digits.step(forecast)), max(map(abs, known)))
    times = _times(one) if one.flagged else []
    names = ["time" if one.series.column.times else "row", "value", "expected", "lower", "upper", "score"]
    rows = []
    for at in one.flagged:
        numbers = [column[at] for column in (values, one.expected, one.lower, one.upper)]
        score = one.score[at]
        cells = ["-" if number is None else format(number, form) for number in numbers]
        rows.append((times[at], *cells, "-" if score is None else f"{score:.6f}"))
    return Table(names, rows)


def _plot(one: Judgement, name: str) -> Plot:
    axis, column = plot.axis(one.series), one.series.column
    marks = [(axis.xs[at], value) for at in one.flagged if (value := column.values[at]) is not None]
    return Plot(
        name=one.series.item_id,
        caption=f"{column.summary()}: {_counts([one])}",
        xs=axis.xs,
        timed=axis.timed,
        values=column.values,
        times=(column.times[0], column.times[-1]) if column.times else ("1", str(len(column.values))),
        layers=[Layer(name, axis.xs, one.expected, one.lower, one.upper, dashed=True)],
        table=_table(one),
        marks=marks,
    )
