"""What the service says of each point of one series, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tsfm.errors import TsfmError

if TYPE_CHECKING:  # pandas is in the command line's environment, not in the system's
    from tsfm.cli.source.series import Series

Numbers = list[float | None]
NAMES = ("score", "expected", "lower", "upper")


@dataclass(frozen=True)
class Judgement:
    """The points of one series; every list is as long as its values.

    Attributes:
        anomaly: None where a point is not judged; False for one without a value.
        score: from 0 to 1, the level up to which the point is an anomaly; None where there is none.
        expected, lower, upper: the forecast from the points before, and its interval; None where there is none.
    """

    series: Series
    anomaly: list[bool | None]
    score: Numbers
    expected: Numbers
    lower: Numbers
    upper: Numbers

    @property
    def flagged(self) -> list[int]:
        """Which points are anomalies."""
        return [at for at, one in enumerate(self.anomaly) if one]

    @property
    def missing(self) -> int:
        """Number of points without a value."""
        return self.series.column.values.count(None)

    @property
    def unjudged(self) -> int:
        """Number of points that have a value and are not judged: the first ones, or those before the window."""
        pairs = zip(self.anomaly, self.series.column.values, strict=True)
        return sum(one is None and value is not None for one, value in pairs)

    @property
    def judged(self) -> int:
        return len(self.anomaly) - self.missing - self.unjudged


def read(series: Series, entry: Mapping[str, object]) -> Judgement:
    """The judgement in one entry of the answer.

    Raises:
        TsfmError: it is none.
    """
    rows = len(series.column.values)
    flags = entry.get("anomaly")
    if not isinstance(flags, list) or len(flags) != rows or not all(one in (True, False, None) for one in flags):
        raise TsfmError(f"expected anomaly of {rows} points in the service's answer, got something else")
    return Judgement(series, flags, *(_numbers(entry.get(name), name, rows) for name in NAMES))


def _numbers(values: object, name: str, rows: int) -> Numbers:
    if not isinstance(values, list) or len(values) != rows or not all(map(_is_number, values)):
        raise TsfmError(f"expected {rows} numbers or gaps as {name} in the service's answer, got something else")
    return values


def _is_number(value: object) -> bool:
    return value is None or (type(value) in (int, float) and math.isfinite(value))  # type: ignore[arg-type]
