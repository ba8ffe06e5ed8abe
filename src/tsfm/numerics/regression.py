"""Covariates for models without any: a ridge regression in context, and the model forecasts what it leaves over.

The effect of the covariates is fitted on the series' own past and subtracted; the model forecasts the rest, and the
effect of the known future is added. This is the mode "xreg + timesfm" of TimesFM's ``forecast_with_covariates``
(Das et al. 2024; upstream: timesfm, ``xreg_lib.BatchedInContextXRegLinear``), with two changes, so that a covariate
that explains nothing does no harm: the strength of the ridge is chosen by robust generalised cross-validation
(Lukas 2006), and errors are taken as autocorrelated (Prais and Winsten 1954), since two series that merely drift would
explain one another otherwise (Granger and Newbold 1974).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsfm.numerics import scaling
from tsfm.series import FloatArray, Series

NEWEST = 4096  # points that count: a relation of long ago may be over, and time grows with their number
FEWEST = 8  # minimum number of points where the target and its predecessor are observed; else no effect is fitted
ROBUSTNESS = 2.5  # weight of the effective number of parameters in the cross-validation; 1 chooses noise too often
PENALTIES = np.concatenate([np.logspace(-6, 3, 19), [np.inf]])  # of the ridge, as fractions of the number of points
PASSES = 3  # the autocorrelation is estimated from the errors, and the errors depend on it
MOST_AUTOCORRELATION = 0.99
FARTHER = 0.5  # how far beyond the range of its past a covariate counts, in ranges


@dataclass(frozen=True)
class Explained:
    """A series without its covariates' effect.

    Attributes:
        rest: the target less the effect, from ``NEWEST`` points before its last observed one on; no covariates; gaps
            stay gaps.
        ahead: shape (horizon,), the effect in the horizon, in the unit of the target.
        weights: shape (columns,), change of the target, in its spreads, for one spread of each column: future
            covariates first, then past ones.
    """

    rest: Series
    ahead: FloatArray
    weights: FloatArray


def explain(series: Series, horizon: int) -> Explained:
    """Fit the covariates' effect on the target and take it out.

    A future covariate acts at once. A past covariate is not known in the horizon: it acts ``horizon`` steps later.

    Args:
        series: at least one point of the target is observed; covariates may have gaps, which are filled by the mean of
            their past.
    """
    series = series.between(max(0, series.observed_span()[1] - NEWEST), len(series))
    columns, points = _columns(series, horizon), len(series)
    target = np.asarray(series.target, np.float64)
    unit, scale = scaling.unit(target, ~np.isnan(target))
    weights = _fit(columns[:, :points], unit) if scale.spread else np.zeros(len(columns))
    effect = weights @ columns
    # The rest is formed in unit spread: the effect of a huge target would overflow.
    rest = scale.restore(unit - effect[:points]) if weights.any() else series.target
    ahead = effect[points:] * scale.spread
    return Explained(Series(rest, season=series.season), ahead, weights)


def _columns(series: Series, horizon: int) -> FloatArray:
    """The regressors in unit spread, shape (columns, n + horizon); a column without variation in its past is 0."""
    points = len(series)
    past = np.full((len(series.past_covariates), points + horizon), np.nan)
    if len(past) and horizon < points:
        past[:, horizon:] = series.past_covariates
    future = np.asarray(series.future_covariates, np.float64).reshape(-1, points + horizon)
    return np.array([_column(row, points) for row in (*future, *past)]).reshape(-1, points + horizon)


def _column(row: FloatArray, points: int) -> FloatArray:
    observed = ~np.isnan(row)
    observed[points:] = False
    with np.errstate(over="ignore"):
        unit, scale = scaling.unit(np.asarray(row, np.float64), observed)
    if not scale.spread:
        return np.zeros(len(row))
    low, high = unit[observed].min(), unit[observed].max()
    reach = FARTHER * (high - low)
    return np.nan_to_num(np.clip(unit, low - reach, high + reach), nan=0.0)  # the mean of its past


def _fit(columns: FloatArray, target: FloatArray) -> FloatArray:
    """Weights of the columns, shape (columns,); 0 where they explain nothing."""
    observed = ~np.isnan(target)
    pairs = observed[1:] & observed[:-1]
    weights: FloatArray = np.zeros(len(columns))
    if pairs.sum() < FEWEST:
        return weights
    for _ in range(PASSES):
        errors = target - weights @ columns
        errors -= errors[observed].mean()
        autocorrelation = _autocorrelation(errors, pairs)
        left = (columns[:, 1:] - autocorrelation * columns[:, :-1])[:, pairs]
        right = (target[1:] - autocorrelation * target[:-1])[pairs]
        weights = ridge(left, right)
    return weights


def _autocorrelation(errors: FloatArray, pairs: NDArray[np.bool_]) -> float:
    now, before = errors[1:][pairs], errors[:-1][pairs]
    power = float(before @ before)
    return float(np.clip(now @ before / power, 0, MOST_AUTOCORRELATION)) if power > 0 else 0.0


def ridge(columns: FloatArray, target: FloatArray, penalty: float | None = None) -> FloatArray:
    """Weights of a ridge regression with a free intercept, shape (columns,).

    Args:
        columns: shape (k, n).
        target: shape (n,).
        penalty: as a fraction of n; None: the best of ``PENALTIES`` by robust generalised cross-validation.
    """
    count = len(target)
    columns = columns - columns.mean(1, keepdims=True)
    target = target - target.mean()
    powers, axes = np.linalg.eigh(columns @ columns.T / count)
    powers = np.maximum(powers, 0)
    along = axes.T @ (columns @ target) / count
    known = powers > powers[-1] * 1e-12 if len(powers) else np.zeros(0, bool)  # collinear columns share the others

    if penalty is None:
        penalty = _best_penalty(powers, along, known, float(target @ target) / count, count)
    weights: FloatArray = axes @ (along * _inverse(powers, known, penalty))
    return weights


def _inverse(powers: FloatArray, known: NDArray[np.bool_], penalty: float) -> FloatArray:
    return np.where(known, 1 / np.where(known, powers + penalty, 1), 0.0)


def _best_penalty(
    powers: FloatArray, along: FloatArray, known: NDArray[np.bool_], variance: float, count: int
) -> float:
    best, least = float("inf"), np.inf
    for penalty in PENALTIES[::-1]:
        inverse = _inverse(powers, known, penalty)
        weights = along * inverse
        error = variance - 2 * float(along @ weights) + float(powers @ weights**2)
        free = 1 - ROBUSTNESS * (float(powers @ inverse) + 1) / count
        if free <= 0:
            break
        score = max(error, 0.0) / free**2
        if score < least:
            best, least = float(penalty), score
    return best
