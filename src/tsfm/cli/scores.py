"""What a backtest says of one family: the scores of each series, and over all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tsfm.cli.prediction import Failure
from tsfm.errors import TsfmError

if TYPE_CHECKING:  # numpy and pandas are in the command line's environment, not in the system's
    from tsfm.cli.source.series import Series
    from tsfm.numerics.backtest import Score

Number = float | None


@dataclass(frozen=True)
class Scores:
    """Errors of forecasts; None where there is nothing to divide by.

    Attributes:
        mase, rmsse: mean over the series of errors in units of the seasonal steps in the history.
        wql: weighted quantile loss.
        coverage: the share of points within the interval.
    """

    mase: Number
    rmsse: Number
    wql: Number
    coverage: Number

    @classmethod
    def of(cls, metrics: Mapping[str, object], levels: Sequence[float]) -> Scores:
        """The scores in an answer of /v1/cross_validation, with the interval between the outermost levels.

        Raises:
            TsfmError: they are none.
        """
        below = metrics.get("coverage")
        if not isinstance(below, dict):
            raise TsfmError("expected metrics with coverage in the service's answer, got something else")
        low, high = (_number(below.get(str(level))) for level in (min(levels), max(levels)))
        mase, rmsse, wql = (_number(metrics.get(name)) for name in ("mase", "rmsse", "wql"))
        return cls(mase, rmsse, wql, None if low is None or high is None else high - low)


@dataclass(frozen=True)
class Scored:
    """One series.

    Attributes:
        windows: the entries of the answer, one for each cutoff, with the forecasts.
    """

    series: Series
    season_length: int
    scores: Scores
    naive: Scores
    windows: list[dict[str, object]]


@dataclass(frozen=True)
class Tried:
    """What a family answered, how long it took, and the most memory that its service has had; None: not known."""

    family: str
    results: list[Scored | Failure]
    seconds: float
    memory_mib: int | None


@dataclass(frozen=True)
class Run(Tried):
    """The backtest of one family; ``scores`` and ``naive`` are over the series that all families have scores of."""

    scores: Scores
    naive: Scores


@dataclass(frozen=True)
class Absent:
    """A family without scores, and the reason."""

    family: str
    reason: str


def read(series: Series, entry: Mapping[str, object], levels: Sequence[float]) -> Scored:
    """One entry of the answer.

    Raises:
        TsfmError: it is no result of a backtest.
    """
    season, windows = entry.get("season_length"), entry.get("windows")
    ours, naive = entry.get("metrics"), entry.get("seasonal_naive")
    if not (isinstance(season, int) and isinstance(windows, list)):
        raise TsfmError("expected season_length and windows in the service's answer, got something else")
    if not (isinstance(ours, dict) and isinstance(naive, dict)):
        raise TsfmError("expected metrics and seasonal_naive in the service's answer, got something else")
    return Scored(series, season, Scores.of(ours, levels), Scores.of(naive, levels), windows)


def rank(tried: Sequence[Tried], levels: Sequence[float], horizon: int) -> list[Run]:
    """The families with their scores over all series together, the lowest MASE first, or WQL where there is none.

    Every family is scored over the same series: those that all have scores of. An answer has such metrics for its own
    series only, and there may be several requests.
    """
    common = set.intersection(
        *({one.series.item_id for one in each.results if isinstance(one, Scored)} for each in tried)
    )
    runs = [_run(one, common, levels, horizon) for one in tried]
    return sorted(runs, key=lambda run: [math.inf if one is None else one for one in (run.scores.mase, run.scores.wql)])


def _run(tried: Tried, common: set[str], levels: Sequence[float], horizon: int) -> Run:
    from tsfm.numerics import backtest

    scored = [one for one in tried.results if isinstance(one, Scored) and one.series.item_id in common]
    found = [_windows(one, levels, horizon) for one in scored]
    ours, naive = (Scores.of(backtest.metrics([each[at] for each in found], levels), levels) for at in (0, 1))
    return Run(tried.family, tried.results, tried.seconds, tried.memory_mib, ours, naive)


def _windows(one: Scored, levels: Sequence[float], horizon: int) -> tuple[list[Score], list[Score]]:
    """The scores of each window as the service computes them, the model's and seasonal naive's."""
    import numpy as np

    from tsfm.numerics import backtest
    from tsfm.series import Forecast

    values = np.array(one.series.column.values, np.float64)
    ours, naive = [], []
    for window in one.windows:
        cutoff = int(str(window["cutoff"]))
        history, actual = values[:cutoff], values[cutoff : cutoff + horizon]
        made = Forecast(np.array(window["mean"]), np.array([window[str(level)] for level in levels]))
        beside = backtest.seasonal_naive(history, horizon, levels, one.season_length)
        ours.append(backtest.score(history, actual, made, levels, one.season_length))
        naive.append(backtest.score(history, actual, beside, levels, one.season_length))
    return ours, naive


def _number(value: object) -> Number:
    return float(value) if isinstance(value, int | float) else None
