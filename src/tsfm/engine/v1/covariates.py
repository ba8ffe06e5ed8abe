"""Named covariates of one series: numbers, or text and booleans as categories."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tsfm.engine.fields import exact, given, shown
from tsfm.errors import BadRequest, TooLarge
from tsfm.numerics.covariates import numbered, target_encoded
from tsfm.series import FloatArray
from tsfm.settings import Settings

Values = FloatArray | list[str | None]
LONGEST_NAME = 200


@dataclass(frozen=True)
class Covariate:
    """One covariate.

    Attributes:
        past: one value for each point of the target: numbers with NaN for missing ones, or categories.
        future: the values ahead; None: it is known for the past only.
    """

    name: str
    past: Values
    future: Values | None

    @property
    def in_advance(self) -> bool:
        """It is known ahead of the target."""
        return self.future is not None

    def row(self, target: FloatArray | None, start: int, stop: int | None, ahead: int) -> FloatArray:
        """Its values beside the points ``start`` to ``stop`` of the target, and behind them where known in advance.

        Args:
            target: by which categories become numbers; None: there are several, and categories are counted.
            ahead: as in ``Entry.series``.
        """
        stop = len(self.past) if stop is None else stop
        past, future = self.past[start:stop], self.past[stop : stop + ahead] if ahead else self.future
        if self.future is None or future is None:
            future = []
        if isinstance(past, list):
            coming = future if isinstance(future, list) else []
            known, later = (
                numbered(past, coming) if target is None else target_encoded(past, coming, target[start:stop])
            )
            if isinstance(future, np.ndarray):  # known in advance, and all of it missing
                later = future
        else:
            known, later = past, np.asarray(future, np.float64)
        return np.concatenate((known, later)) if len(later) else known


def covariates(fields: dict[str, object], points: int, horizon: int | None, limits: Settings) -> tuple[Covariate, ...]:
    """The covariates of one entry of ``inputs``.

    Raises:
        BadRequest, TooLarge
    """
    past, future = (_named(field, fields) for field in ("past_covariates", "future_covariates"))
    if len(past) > limits.max_covariates:
        raise TooLarge(f"past_covariates: expected at most {limits.max_covariates}, got {len(past)}")
    for name in future:
        if name not in past:
            raise BadRequest(
                f"future_covariates: expected names of past_covariates, which hold their history, got {shown(name)}"
            )
    order = [name for name in sorted(past) if name not in future] + [name for name in sorted(past) if name in future]
    found = []
    for name in order:
        history = _values(f"past_covariates.{_short(name)}", past[name], points)
        ahead = None
        if name in future:
            ahead = _ahead(f"future_covariates.{_short(name)}", future[name], history, horizon)
        found.append(Covariate(name, history, ahead))
    return tuple(found)


def _named(field: str, fields: dict[str, object]) -> dict[str, object]:
    value = given(fields, field, {})
    if not isinstance(value, dict):
        raise BadRequest(f"{field}: expected an object with a list for each name, got {shown(value)}")
    for name in value:
        if len(name) > LONGEST_NAME:
            raise BadRequest(f"{field}: expected names of at most {LONGEST_NAME} characters, got {len(name)}")
    return value


def _ahead(field: str, value: object, history: Values, horizon: int | None) -> Values:
    if horizon is None:
        return np.empty(0)
    if value is None or (isinstance(value, list | np.ndarray) and not len(value)):
        return np.full(horizon, np.nan)  # it is known in advance, but its values are missing
    ahead = _values(field, value, horizon)
    if isinstance(ahead, list) != isinstance(history, list) and not _all_missing(ahead):
        kinds = ("categories", "numbers") if isinstance(history, list) else ("numbers", "categories")
        raise BadRequest(f"{field}: expected {kinds[0]} as in past_covariates, got {kinds[1]}")
    return ahead


def _values(field: str, value: object, length: int) -> Values:
    if isinstance(value, np.ndarray) and value.dtype.kind in "OUb":
        value = value.tolist()
    if isinstance(value, list) and len(value) == length and any(isinstance(item, str | bool) for item in value):
        return [_category(field, at, item) for at, item in enumerate(value)]
    if isinstance(value, list | np.ndarray) and len(value) != length:
        raise BadRequest(f"{field}: expected {length} values, got {len(value)}")
    row, _ = exact(field, value)
    return row


def _category(field: str, at: int, value: object) -> str | None:
    if isinstance(value, bool):
        return str(value)
    if value is None or isinstance(value, str):
        return value
    raise BadRequest(
        f"{field}[{at}]: expected text, true, false or null, as the others are categories, got {shown(value)}"
    )


def _all_missing(values: Values) -> bool:
    return not isinstance(values, list) and bool(np.isnan(values).all())


def _short(name: str) -> str:
    return name if name.isprintable() and len(name) <= 40 else shown(name)
