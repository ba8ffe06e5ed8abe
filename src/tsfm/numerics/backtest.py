"""Forecasts of a past that is known, scored: errors, intervals, and the seasonal naive forecast beside them.

MASE and RMSSE divide an error by that of the seasonal naive forecast within the history (Hyndman and Koehler 2006;
M5), so that series of any unit may be averaged. WQL is the weighted quantile loss of GluonTS: twice the pinball loss,
divided by the sum of what was observed, the mean over the levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from tsfm.numerics.scaling import fill
from tsfm.series import FloatArray, Forecast

# Below this autocorrelation nothing counts as a season; a shorter period wins if it is nearly as strong.
WEAKEST, NEARLY = 0.3, 0.8
FEWEST_CYCLES = 2
Metrics = dict[str, object]


@dataclass(frozen=True)
class Score:
    """One window.

    Attributes:
        mase, rmsse: NaN where the history never changes from season to season.
        loss: twice the pinball loss of each level, summed over the points; shape (levels,).
        weight: sum of the absolute values that were observed.
        below: points at or below each level's forecast; shape (levels,).
        points: observed points of the window.
    """

    mase: float
    rmsse: float
    loss: FloatArray
    weight: float
    below: FloatArray
    points: int


def score(history: FloatArray, actual: FloatArray, forecast: Forecast, levels: Sequence[float], season: int) -> Score:
    """The score of one window.

    Args:
        history: shape (n,), the points before the window; NaN is a missing one.
        actual: shape (horizon,), likewise.
    """
    observed = ~np.isnan(actual)
    error = (actual - forecast.median)[observed]
    steps = _seasonal_steps(history, season)
    absolute, square = (float(np.mean(values)) if steps.size else 0.0 for values in (np.abs(steps), steps**2))
    over = actual[observed] - forecast.quantiles[:, observed]
    level = np.asarray(levels, np.float64)[:, None]
    return Score(
        float(np.mean(np.abs(error))) / absolute if absolute and error.size else math.nan,
        math.sqrt(float(np.mean(error**2)) / square) if square and error.size else math.nan,
        2 * np.where(over >= 0, level * over, (level - 1) * over).sum(axis=1),
        float(np.abs(actual[observed]).sum()),
        (over <= 0).sum(axis=1).astype(np.float64),
        int(observed.sum()),
    )


def metrics(series: Sequence[Sequence[Score]], levels: Sequence[float]) -> Metrics:
    """The metrics over the windows of several series; None where there is nothing to divide by.

    MASE and RMSSE are means over the windows of a series, and then over the series. WQL and coverage, the share of
    points at or below each level's forecast, are over all points together.
    """
    scores = [one for windows in series for one in windows]
    points = sum(one.points for one in scores)
    weight = sum(one.weight for one in scores)
    zero = np.zeros(len(levels))
    loss, below = sum((one.loss for one in scores), zero), sum((one.below for one in scores), zero)
    return {
        "mase": _mean([_mean([one.mase for one in windows]) for windows in series]),
        "rmsse": _mean([_mean([one.rmsse for one in windows]) for windows in series]),
        "wql": float(loss.mean() / weight) if weight and len(levels) else None,
        "coverage": {str(level): float(count / points) for level, count in zip(levels, below, strict=True)}
        if points
        else {},
    }


def seasonal_naive(history: FloatArray, horizon: int, levels: Sequence[float], season: int) -> Forecast:
    """The last season repeated; its quantiles are normal, from the changes between seasons, and widen each season.

    Args:
        history: shape (n,), at least one point observed; shorter than a season: the last value is repeated.
    """
    season = season if season < len(history) else 1
    filled = fill(np.asarray(history, np.float64))
    median = np.resize(filled[-season:], horizon)
    steps = _seasonal_steps(history, season)
    spread = math.sqrt(float(np.mean(steps**2))) if steps.size else 0.0
    reach = spread * np.sqrt(np.arange(horizon) // season + 1)
    normal = NormalDist()
    rows = [median + normal.inv_cdf(level) * reach for level in levels]
    return Forecast(median, np.stack(rows) if rows else np.empty((0, horizon)))


def season_of(history: FloatArray) -> int:
    """The period at which a series repeats, by its autocorrelation; 1: at none.

    The series must hold ``FEWEST_CYCLES`` periods. A linear trend is taken off first.
    """
    values = fill(np.asarray(history, np.float64))
    count = len(values)
    longest = count // FEWEST_CYCLES
    if longest < 2 or np.isnan(values).any():
        return 1
    index = np.arange(count)
    scale = float(np.abs(values).max()) or 1.0
    slope, level = np.polyfit(index, values / scale, 1)
    rest = values / scale - (slope * index + level)
    size = 1 << (2 * count - 1).bit_length()
    spectrum = np.fft.rfft(rest, size)
    products = np.fft.irfft(spectrum * np.conj(spectrum), size)[: longest + 1]
    if products[0] <= 1e-18 * count:
        return 1
    # Each lag has fewer pairs than the one before; their mean is what is compared.
    correlation = products / products[0] * count / (count - np.arange(longest + 1))
    peaks = [
        lag
        for lag in range(2, longest)
        if correlation[lag] >= correlation[lag - 1] and correlation[lag] > correlation[lag + 1]
    ]
    strongest = max((correlation[lag] for lag in peaks), default=0.0)
    if strongest < WEAKEST:
        return 1
    return next(lag for lag in peaks if correlation[lag] >= NEARLY * strongest)


def _seasonal_steps(history: FloatArray, season: int) -> FloatArray:
    """The changes from season to season, observed ones; from point to point where there are none."""
    season = season if season < len(history) else 1
    steps = history[season:] - history[:-season]
    return np.asarray(steps[~np.isnan(steps)], np.float64)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and not math.isnan(value)]
    return sum(known) / len(known) if known else None
