"""Anomalies in labelled and in injected series: our scores beside those of methods without a model, on the same points.

The methods are those that TDgpt offers without a model (k-sigma, IQR, LOF, isolation forest), and a seasonal
decomposition. Constants were chosen on one half of the series; the keys are of the other half.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from bench import common, injections, ranking, real

LEVELS = (0.9, 0.99, 0.999)
METHODS = ("ksigma", "iqr", "lof", "iforest", "decomposition")
DATA = Path(__file__).parent / "data" / "anomalies.npz"
REPORTED = ("ecg_a", "mitdb", "motion_v2", "nile_dam")  # the other labelled series were for choosing
SPEED = {"fracast": "", "chronos": "bolt-tiny"}
Case = tuple[str, np.ndarray, np.ndarray]


def run(cases: int | None = None, points: int = 10_000) -> dict[str, float]:
    """Every ``anomaly_*`` key; ``cases``: at most so many of each kind."""
    ours = _Ours("fracast", "")
    found = [_ranked(case, ours) for case in [*labelled(reporting=True)[:cases], *injected(reporting=True)[:cases]]]
    keys: dict[str, float] = {}
    for at, measure in enumerate(("auc_pr", "vus_pr")):
        table = {name: np.array([one[name][at] for one in found]) for name in ("fracast", *METHODS)}
        for name, values in table.items():
            keys[f"anomaly_{measure}_{name}"] = float(values.mean())
        for name in METHODS:
            keys[f"anomaly_{measure}_over_{name}"] = float(table["fracast"].mean() / table[name].mean())
            keys[f"anomaly_{measure}_better_than_{name}"] = float(np.mean(table["fracast"] > table[name]))
    keys |= _false_alarms(ours, cases)
    for family, size in SPEED.items():
        detector = ours if family == "fracast" else _Ours(family, size)
        series = common.waves([points])[0]
        detector.scores(series[:200])  # the first call prepares the weights
        began = time.perf_counter()
        detector.scores(series)
        keys[f"anomaly_s_10k_{family}"] = (time.perf_counter() - began) * 10_000 / points
    return keys


def labelled(reporting: bool) -> list[Case]:
    """One half of the series of data/anomalies.npz, and of sktime's copy of a series of Yahoo's, which is not ours."""
    from sktime import datasets

    with np.load(DATA) as stored:
        found = {
            key.removesuffix("/values"): (stored[key].astype(np.float64), stored[key.replace("/values", "/labels")])
            for key in stored.files
            if key.endswith("/values")
        }
    yahoo = np.genfromtxt(Path(datasets.__file__).parent / "data/yahoo/yahoo.csv", delimiter=",", skip_header=1)
    found["yahoo"] = yahoo[:, 0], yahoo[:, 1] != 0
    return [(name, *found[name]) for name in sorted(found) if (name in REPORTED) == reporting]


def injected(reporting: bool) -> list[Case]:
    """Every second real series from the second on, or from the first on, with anomalies of two kinds each."""
    cases = injections.cases(real.series())
    return [case for at, case in enumerate(cases) if (at // 2) % 2 == reporting]


class _Ours:
    """A family's model through the steps of the operation, in this thread."""

    def __init__(self, family: str, size: str) -> None:
        from tsfm import families
        from tsfm.series import Runtime

        self.family = family
        folder = common.checkpoint(family, size) if size else None
        self.model = families.load(family, folder, Runtime(threads=common.THREADS))

    def scores(self, values: np.ndarray) -> np.ndarray:
        """Of each point; 0 where it is not judged."""
        from tsfm.engine.planner import chunks
        from tsfm.engine.v1.judging import Row
        from tsfm.engine.work import WorkItem, run_batch

        row = Row.of(values, None)
        parts = row.parts(self.model, self.family)
        items = [part for part in parts if isinstance(part, WorkItem)]
        for batch in chunks(items, self.model.batch_points, 1):
            run_batch(batch)
        outcomes = [part.restore(part.future.result()) if isinstance(part, WorkItem) else part.output for part in parts]
        return np.nan_to_num(row.judged(outcomes, 0.99).score)


def _ranked(case: Case, ours: _Ours) -> dict[str, tuple[float, float]]:
    from tsfm.numerics.backtest import season_of

    _, values, labels = case
    longest = int(np.clip(season_of(values), 10, 100))
    scores = {"fracast": ours.scores(values)} | baselines(values)
    return {name: (ranking.auc_pr(labels, one), ranking.vus_pr(labels, one, longest)) for name, one in scores.items()}


def baselines(values: np.ndarray) -> dict[str, np.ndarray]:
    """The scores of the methods without a model."""
    from sklearn.ensemble import IsolationForest
    from sklearn.neighbors import LocalOutlierFactor

    from tsfm.numerics import shapes
    from tsfm.numerics.backtest import season_of

    column = values.reshape(-1, 1)
    low, high = np.percentile(values, [25, 75])
    scores = (
        np.abs(values - values.mean()),
        np.maximum(np.maximum(low - values, values - high), 0),
        -LocalOutlierFactor(20).fit(column).negative_outlier_factor_,
        -IsolationForest(random_state=0).fit(column).score_samples(column),
        shapes.rest(values, season_of(values)),
    )
    return dict(zip(METHODS, scores, strict=True))


def _false_alarms(ours: _Ours, cases: int | None) -> dict[str, float]:
    """``anomaly_false_alarms_<level>``: the share of points of clean series above the level, over what it promises."""
    clean = [one.values[-injections.NEWEST :] for one in injections.usable(real.series())[1::2]]
    scores = np.concatenate([ours.scores(values)[16:] for values in clean[:cases]])
    return {f"anomaly_false_alarms_{level}": float(np.mean(scores > level) / (1 - level)) for level in LEVELS}
