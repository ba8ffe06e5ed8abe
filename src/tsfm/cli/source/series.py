"""Takes one or more series out of a table: values, times and covariates, one series for each id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tsfm.cli.prediction import Failure
from tsfm.cli.source import clock
from tsfm.cli.source.load import Source
from tsfm.errors import UsageError
from tsfm.table import cells, column, numbers, times
from tsfm.table.column import Column
from tsfm.table.rows import Rows

PAST, FUTURE = "past", "future"
Values = list[float | None] | list[str | None]
"""A covariate's values: numbers, or texts that name categories; None for a gap."""


@dataclass(frozen=True)
class Series:
    """One series.

    Attributes:
        item_id: the cell that names it; the column's name where the table holds one series.
        column: its values, oldest first.
        ahead: the times of the steps to forecast; empty where the table has no times that go on evenly.
        past: the history of every covariate, each as long as the values.
        future: what is known of covariates for the steps to forecast, each as long as the horizon.
    """

    item_id: str
    column: Column
    ahead: list[str]
    past: dict[str, Values] = field(default_factory=dict)
    future: dict[str, Values] = field(default_factory=dict)

    def newest(self, count: int) -> Series:
        """The newest rows of its history."""
        rows = slice(-count, None)
        past: dict[str, Values] = {name: values[rows] for name, values in self.past.items()}
        return replace(self, column=self.column.part(rows), past=past)


@dataclass(frozen=True)
class Choice:
    """What the user says about the series in a table.

    Attributes:
        item: the column of ids; None: the table holds one series.
        covariates: (PAST or FUTURE, column) of each.
        horizon: steps to forecast; future covariates have as many rows.
        time: the column of times; None: found.
    """

    item: str | None
    covariates: Sequence[tuple[str, str]]
    horizon: int
    time: str | None = None


@dataclass(frozen=True)
class _Covariate:
    name: str
    index: int
    is_future: bool


def read(source: Source, choice: Choice) -> list[Series | Failure]:
    """The series of a table, in the order in which their ids come.

    Raises:
        UsageError: a column is missing, or the table's only series cannot be read.
    """
    name, table = source.name, source.rows
    item = None if choice.item is None else column.named(name, table, choice.item, "--id")
    covariates = [_covariate(source, kind, text) for kind, text in choice.covariates]
    apart = {covariate.index for covariate in covariates} | ({item} if item is not None else set())
    time = None if choice.time is None else column.named(name, table, choice.time, "--time") + 1
    options = replace(source.options, apart=frozenset(apart), time=time)
    if item is None:
        return [_series(replace(source, options=options), table, covariates, choice.horizon, None)]
    groups = _groups(table, item)
    largest = max(groups.values(), key=lambda rows: len(rows.cells))
    found = times.find(name, largest, time)
    index, note = column.pick(name, largest, found, options)
    options = replace(
        options,
        column=index + 1,
        time=found.columns[0] + 1 if found else 0,
        decimal=options.decimal or _decimal(source, index),
    )
    notes = [*table.notes, note] if note else table.notes
    parts = {text: replace(rows, notes=[] if number else notes) for number, (text, rows) in enumerate(groups.items())}
    result: list[Series | Failure] = []
    for text, rows in parts.items():
        try:
            result.append(_series(Source(name, rows, options), rows, covariates, choice.horizon, text))
        except UsageError as error:
            result.append(Failure(text, str(error)))
    return result


def _covariate(source: Source, kind: str, text: str) -> _Covariate:
    index = column.named(source.name, source.rows, text, "--covariate")
    return _Covariate(source.rows.label(index), index, kind == FUTURE)


def _groups(table: Rows, item: int) -> dict[str, Rows]:
    """The rows of each id; an empty cell is an id too."""
    found: dict[str, list[int]] = {}
    for number, row in enumerate(table.cells):
        found.setdefault(row[item].strip(), []).append(number)
    return {
        text: replace(table, cells=[table.cells[i] for i in numbers_], lines=[table.lines[i] for i in numbers_])
        for text, numbers_ in found.items()
    }


def _decimal(source: Source, index: int) -> str:
    """One decimal sign for all series: a short one may prove none."""
    table = source.rows
    positions = [f"{source.name}: line {line}, column {table.label(index)}" for line in table.lines]
    return numbers.decimal([cells.plain(text) for text in table.column(index)], positions, table.separator)


def _series(source: Source, rows: Rows, covariates: Sequence[_Covariate], horizon: int, item_id: str | None) -> Series:
    values = column.choose(source.name, rows, "", source.options)
    known = len(values.values)
    if future := [covariate.name for covariate in covariates if covariate.is_future]:
        known = _known(values, future, horizon)
    at = {line: number for number, line in enumerate(rows.lines)}
    order = [at[line] for line in values.lines]
    past: dict[str, Values] = {}
    ahead: dict[str, Values] = {}
    for one in covariates:
        past[one.name] = _values(source, rows, one, order[:known])
        if one.is_future:
            ahead[one.name] = _values(source, rows, one, order[known : known + horizon])
    history = values.part(slice(known))
    return Series(item_id if item_id is not None else values.name, history, clock.ahead(history, horizon), past, ahead)


def _known(values: Column, future: Sequence[str], horizon: int) -> int:
    """How many rows are history: the rows after the last value hold the future of covariates."""
    known = max(number for number, value in enumerate(values.values, 1) if value is not None)
    rows = len(values.values) - known
    if rows < horizon:
        raise UsageError(
            f"{values.file}: column {values.name}: --covariate future:{future[0]} needs {horizon} rows after the last "
            f"value, one for each step of --horizon, got {rows}"
        )
    return known


def _values(source: Source, rows: Rows, covariate: _Covariate, order: Sequence[int]) -> Values:
    """Numbers if all cells are numbers, else texts."""
    texts = [rows.cells[number][covariate.index] for number in order]
    lines = [rows.lines[number] for number in order]
    if all(cells.kind(text) in (cells.NUMBER, cells.GAP) for text in texts):
        read, _ = numbers.read(source.name, covariate.name, texts, lines, source.options.decimal, rows.separator)
        return read
    return [None if cells.is_gap(text) else text.strip() for text in texts]
