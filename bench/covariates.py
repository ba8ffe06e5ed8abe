"""Gain by covariates for a model that takes none (Fracast): error with them over error without, each in one run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench import common, real

HORIZON = 24
POINTS = 192
SEED = 7
Case = tuple[np.ndarray, np.ndarray, np.ndarray]  # target (n,), what comes (horizon,), covariates (k, n + horizon)
# A target and the covariates that are known ahead; all of one length and one time step.
REAL = {
    "change_consumption/4": ("change_income/4", "change_production/4", "change_savings/4", "change_unemployment/4"),
    "realgdp/4": ("realcons/4", "realinv/4", "realgovt/4"),
    "employed_nonfarm/12": ("employed_construction/12", "employed_government/12", "employed_manufacturing/12"),
    "seattle_temp_max/365": ("seattle_temp_min/365", "seattle_precipitation/365", "seattle_wind/365"),
}


def run(cases: int = 60) -> dict[str, float]:
    """Ratios of mean absolute errors, over made series and over real ones."""
    source = np.random.default_rng(SEED)
    driven = [_made(source) for _ in range(cases)]
    noise = [(target, after, _noise(source)) for target, after, _ in driven]
    return {
        "covariate_gain": _ratio(driven),
        "covariate_gain_real": float(np.mean([_ratio(_windows(name, known)) for name, known in REAL.items()])),
        "covariate_noise": _ratio(noise),
    }


def _made(source: np.random.Generator) -> Case:
    """A daily season with noise, an effect of something that drifts (weather) and one of a flag (a holiday)."""
    points = POINTS + HORIZON
    drift = _drifting(source, 0.95)
    flag = np.repeat(source.random(points // 24) < 0.2, 24).astype(float)
    season = np.sin(np.arange(points) * 2 * np.pi / 24) * source.uniform(0.5, 3)
    whole = season + 0.5 * _drifting(source, 0.6) + source.uniform(0.3, 1) * drift - source.uniform(1, 4) * flag
    return whole[:POINTS], whole[POINTS:], np.stack([drift, flag])


def _noise(source: np.random.Generator) -> np.ndarray:
    """White noise, a drift, and a random walk."""
    points = POINTS + HORIZON
    return np.stack([source.normal(size=points), _drifting(source, 0.95), np.cumsum(source.normal(size=points))])


def _drifting(source: np.random.Generator, pull: float) -> np.ndarray:
    values = source.normal(size=POINTS + HORIZON)
    for at in range(1, len(values)):
        values[at] += pull * values[at - 1]
    return values


def _windows(name: str, known: tuple[str, ...], count: int = 24) -> list[Case]:
    """Windows of a real series, with a horizon of a year or of two weeks."""
    with np.load(real.DATA) as stored:
        target = stored[name].astype(np.float64)
        rows = np.stack([stored[one].astype(np.float64) for one in known])
    horizon = {4: 4, 12: 12}.get(int(name.rpartition("/")[2]), 14)
    first = min(real.CONTEXT, len(target) // 2)
    found = []
    for at in np.unique(np.linspace(first, len(target) - horizon, count).astype(int)):
        begin = max(0, at - real.CONTEXT)
        found.append((target[begin:at], target[at : at + horizon], rows[:, begin : at + horizon]))
    return found


def _ratio(cases: list[Case]) -> float:
    return _error(cases, lambda rows: rows) / _error(cases, lambda rows: rows[:0])


def _error(cases: list[Case], chosen: Callable[[np.ndarray], np.ndarray]) -> float:
    from tsfm import families
    from tsfm.numerics import regression, scaling
    from tsfm.series import Runtime, Series

    model = families.load("fracast", None, Runtime(threads=common.THREADS))
    horizon = len(cases[0][1])
    found = [regression.explain(Series(target, future_covariates=chosen(rows)), horizon) for target, _, rows in cases]
    made = scaling.forecast(model, [one.rest for one in found], horizon, ())
    answers = [forecast.median + one.ahead for forecast, one in zip(made, found, strict=True)]
    return float(np.mean([np.abs(answer - after).mean() for answer, (_, after, _) in zip(answers, cases, strict=True)]))
