"""The field ``inputs`` of a request under /v1: series with ids, times and named covariates.

A series that cannot be read is refused by itself, in its place; only a list that is none, or too long, refuses the
whole request. The names are those of Chronos-2's endpoint, where ``past_covariates`` holds the history of every
covariate and ``future_covariates`` the values ahead of those that are known in advance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from tsfm.engine.fields import check_most, exact, is_whole, shown, unknown
from tsfm.engine.v1.covariates import Covariate, covariates
from tsfm.errors import BadRequest, RequestError, TooLarge
from tsfm.numerics.frequency import Start
from tsfm.series import FloatArray, Group, Series
from tsfm.settings import Settings

FIELDS = ("item_id", "start", "target", "past_covariates", "future_covariates")
LONGEST_ID = 200
LARGEST_ID = 2**63 - 1


@dataclass(frozen=True)
class Entry:
    """One checked entry of ``inputs``.

    Attributes:
        start: the time of the first point.
        targets: one row, or one for each variate of a 2-D target; shape (n,) each.
        origins: for each row the whole number that was subtracted from it, see ``tsfm.numerics.exact``.
        flat: the target was a list of numbers, so the answer's lists are too.
        known: covariates in the order of their names, those of the past only first, as Chronos-2 orders them.
    """

    item_id: str | int | None
    start: Start | None
    targets: tuple[FloatArray, ...]
    origins: tuple[int, ...]
    flat: bool
    known: tuple[Covariate, ...] = ()

    def group(self, start: int = 0, stop: int | None = None, ahead: int = 0) -> Group:
        """All variates, to be forecast together; the arguments are those of ``series``."""
        by = self.targets[0] if len(self.targets) == 1 else None
        others = [Series(target[start:stop]) for target in self.targets[1:]]
        return Group((self._series(self.targets[0], by, start, stop, ahead), *others))

    def series(self, variate: int, start: int = 0, stop: int | None = None, ahead: int = 0) -> Series:
        """One variate as the model takes it, with the covariates of the entry.

        Args:
            start, stop: of its points; None: to its end.
            ahead: further points, behind ``stop``, at which covariates known in advance are taken from the history;
                0: those that the request gives ahead.
        """
        return self._series(self.targets[variate], self.targets[variate], start, stop, ahead)

    def _series(self, target: FloatArray, by: FloatArray | None, start: int, stop: int | None, ahead: int) -> Series:
        rows = [covariate.row(by, start, stop, ahead) for covariate in self.known]
        past = [row for row, one in zip(rows, self.known, strict=True) if not one.in_advance]
        future = [row for row, one in zip(rows, self.known, strict=True) if one.in_advance]
        return Series(target[start:stop], _stack(past), _stack(future))


@dataclass(frozen=True)
class Refused:
    """An entry that cannot be answered, with the sentence that says why."""

    item_id: str | int | None
    error: RequestError


def read(
    fields: dict[str, object], limits: Settings, horizon: int | None, known: Sequence[str] = FIELDS
) -> tuple[list[Entry | Refused], tuple[str, ...]]:
    """The entries, and a warning for each unknown field.

    Args:
        horizon: number of values that each covariate has ahead; None: any, they are not used.
        known: fields that an entry may have.

    Raises:
        BadRequest, TooLarge: the field is no list of entries.
    """
    value = fields.get("inputs")
    if not isinstance(value, list):
        raise BadRequest(f"inputs: expected a list of series, got {'nothing' if value is None else shown(value)}")
    if not value:
        raise BadRequest("inputs: expected at least one series, got none")
    check_count(len(value), limits)
    entries = [_entry(one, limits, horizon) for one in value]
    check_count(sum(len(entry.targets) for entry in entries if isinstance(entry, Entry)), limits)
    unknown_fields = {name: None for one in value if isinstance(one, dict) for name in one if name not in known}
    return entries, tuple(f"inputs[].{warning}" for warning in unknown(dict(unknown_fields), known))


def count(entries: Sequence[Entry | Refused], windows: int = 1) -> int:
    """Series in the entries, one for each window of each variate; a refused entry counts as one."""
    return sum(windows * len(entry.targets) if isinstance(entry, Entry) else 1 for entry in entries)


def check_count(series: int, limits: Settings) -> None:
    """Refuse more series than one request may hold; each variate and each window counts."""
    if series > limits.max_series:
        raise TooLarge(f"inputs: expected at most {limits.max_series} series, got {series} (max_series)")


def _entry(value: object, limits: Settings, horizon: int | None) -> Entry | Refused:
    item_id = None
    try:
        if not isinstance(value, dict):
            raise BadRequest(f"expected an object with a target, got {shown(value)}")
        item_id = _id(value.get("item_id"))
        begin = start(value.get("start"))
        targets, origins, flat = _targets(value.get("target"), limits)
        return Entry(item_id, begin, targets, origins, flat, covariates(value, len(targets[0]), horizon, limits))
    except RequestError as error:
        return Refused(item_id, error)


def _id(value: object) -> str | int | None:
    if value is None or (isinstance(value, str) and len(value) <= LONGEST_ID):
        return value
    if is_whole(value) and abs(number := int(cast(float, value))) <= LARGEST_ID:
        return number
    raise BadRequest(f"item_id: expected text of at most {LONGEST_ID} characters, got {shown(value)}")


def start(value: object) -> Start | None:
    """The time of a series' first point."""
    if value is None:
        return None
    try:
        if isinstance(value, str):
            return Start.of(value)
    except ValueError:
        pass
    raise BadRequest(f"start: expected a time in ISO 8601 such as 2024-01-31T12:00:00, got {shown(value)}")


def _targets(value: object, limits: Settings) -> tuple[tuple[FloatArray, ...], tuple[int, ...], bool]:
    rows = list(value) if isinstance(value, np.ndarray) and value.ndim == 2 else value
    named: dict[str, object] = {"target": rows}
    variates = isinstance(rows, list) and len(rows) > 0 and isinstance(rows[0], list | np.ndarray)
    if variates and isinstance(rows, list):
        check_count(len(rows), limits)
        named = {f"target[{at}]": row for at, row in enumerate(rows)}
    read = [_target(field, row, limits) for field, row in named.items()]
    lengths = {len(row) for row, _ in read}
    if len(lengths) > 1:
        raise BadRequest(f"target: expected variates of one length, got {', '.join(map(str, sorted(lengths)))} points")
    return tuple(row for row, _ in read), tuple(origin for _, origin in read), not variates


def _target(field: str, value: object, limits: Settings) -> tuple[FloatArray, int]:
    check_most(field, value, limits.max_rows)
    row, origin = exact(field, value)
    if len(row) > limits.max_rows:
        raise TooLarge(f"{field}: expected at most {limits.max_rows} points, got {len(row)}")
    if np.isnan(row).all():
        raise BadRequest(f"{field}: expected at least one number, got {len(row)} missing values")
    return row, origin


def _stack(rows: list[FloatArray]) -> FloatArray:
    return np.stack(rows) if rows else np.empty((0, 0))
