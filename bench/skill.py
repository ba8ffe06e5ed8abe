"""Skill of the embedded default: Fracast compared with seasonal naive on all series of the wide set."""

from __future__ import annotations

from statistics import median

import numpy as np

from bench import common, real

ORIGINS = 12


def run(origins: int = ORIGINS) -> dict[str, float]:
    """MASE (mean absolute error divided by that of the seasonal naive forecast in the context), mean over series."""
    from tsfm import families
    from tsfm.numerics import scaling
    from tsfm.series import Runtime, Series

    model = families.load("fracast", None, Runtime(threads=common.THREADS))
    ours, naive = [], []
    for one in real.series():
        # A context that repeats exactly has a scale of 0, so it is left out.
        cases = [(context, after) for context, after in one.origins(origins) if _season_error(context, one.season)]
        answers = scaling.forecast(model, [Series(context) for context, _ in cases], one.horizon, ())
        scales = [_season_error(context, one.season) for context, _ in cases]
        truths = [after for _, after in cases]
        ours.append(_mase([answer.median for answer in answers], truths, scales))
        last = [np.resize(context[-_known(context, one.season) :], one.horizon) for context, _ in cases]
        naive.append(_mase(last, truths, scales))
    ratios = [a / b for a, b in zip(ours, naive, strict=True)]
    return {
        "mase_ratio_fracast": float(np.mean(ours) / np.mean(naive)),
        "mase_fracast": float(np.mean(ours)),
        "mase_seasonal_naive": float(np.mean(naive)),
        "mase_ratio_fracast_median_series": median(ratios),
        "mase_ratio_fracast_geometric": float(np.exp(np.mean(np.log(ratios)))),
        "mase_fracast_better_series": sum(ratio < 1 for ratio in ratios) / len(ratios),
    }


def _known(context: np.ndarray, season: int) -> int:
    """The season if the context has at least two, else 1, which repeats the last value."""
    return season if 2 * season <= len(context) else 1


def _season_error(context: np.ndarray, season: int) -> float:
    season = _known(context, season)
    return float(np.mean(np.abs(context[season:] - context[:-season])))


def _mase(forecasts: list[np.ndarray], truths: list[np.ndarray], scales: list[float]) -> float:
    rows = zip(forecasts, truths, scales, strict=True)
    return float(np.mean([np.mean(np.abs(forecast - truth)) / scale for forecast, truth, scale in rows]))
