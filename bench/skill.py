"""Does the embedded default know more than the season? Fracast against seasonal naive on real series."""

from __future__ import annotations

from statistics import median

import numpy as np

from bench import common, real

ORIGINS = 24


def run(origins: int = ORIGINS) -> dict[str, float]:
    """MASE (mean absolute error over that of the season's naive forecast in the context), mean over series."""
    from tsfm import families
    from tsfm.numerics import scaling
    from tsfm.series import Runtime, Series

    model = families.load("fracast", None, Runtime(threads=common.THREADS))
    ours, naive = [], []
    for one in real.series():
        contexts, after = zip(*one.origins(origins), strict=True)
        answers = scaling.forecast(model, [Series(context) for context in contexts], one.horizon, ())
        scales = [_season_error(context, one.season) for context in contexts]
        last = [np.resize(context[-one.season :], one.horizon) for context in contexts]
        ours.append(_mase([answer.median for answer in answers], after, scales))
        naive.append(_mase(last, after, scales))
    return {
        "mase_ratio_fracast": float(np.mean(ours) / np.mean(naive)),
        "mase_fracast": float(np.mean(ours)),
        "mase_seasonal_naive": float(np.mean(naive)),
        "mase_ratio_fracast_median_series": median(a / b for a, b in zip(ours, naive, strict=True)),
    }


def _season_error(context: np.ndarray, season: int) -> float:
    return float(np.mean(np.abs(context[season:] - context[:-season])))


def _mase(forecasts: list[np.ndarray], after: tuple[np.ndarray, ...], scales: list[float]) -> float:
    rows = zip(forecasts, after, scales, strict=True)
    return float(np.mean([np.mean(np.abs(forecast - truth)) / scale for forecast, truth, scale in rows]))
