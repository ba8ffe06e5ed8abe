"""Anomalies in labelled and in injected series: our scores beside those of methods without a model, on the same points.

The methods are those that TDgpt offers without a model (k-sigma, IQR, LOF, isolation forest), and a seasonal
decomposition. Constants were chosen on one half of the series; the keys are of the other half.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np

from bench import common, injections, ranking, real
from tsfm.numerics.anomaly import BLOCK

LEVELS = (0.9, 0.99, 0.999)
METHODS = ("ksigma", "iqr", "lof", "iforest", "decomposition")
DATA = Path(__file__).parent / "data" / "anomalies.npz"
REPORTED = ("ecg_a", "mitdb", "motion_v2", "nile_dam")  # the other labelled series were for choosing
SPEED = {"fracast": "", "chronos": "bolt-tiny"}
Case = tuple[str, np.ndarray, np.ndarray]


def run(cases: int | None = None, points: int = 10_000) -> dict[str, float]:
    """Every ``anomaly_*`` key; ``cases``: at most so many labelled, injected and clean series."""
    ours = _Ours("fracast", "")
    chosen = [*labelled(reporting=True)[:cases], *injected(reporting=True)[:cases]]
    found = [_ranked(case, ours) for case in chosen]
    kinds = np.array([name.partition("/")[2] or "labelled" for name, _, _ in chosen])
    keys: dict[str, float] = {}
    for at, measure in enumerate(("auc_pr", "vus_pr")):
        table = {name: np.array([one[name][at] for one in found]) for name in ("fracast", *METHODS)}
        for name, values in table.items():
            keys[f"anomaly_{measure}_{name}"] = float(values.mean())
            keys |= {f"anomaly_{measure}_{name}_{kind}": float(values[kinds == kind].mean()) for kind in set(kinds)}
        for name in METHODS:
            better = table["fracast"] > table[name]
            keys[f"anomaly_{measure}_over_{name}"] = float(table["fracast"].mean() / table[name].mean())
            keys[f"anomaly_{measure}_better_than_{name}"] = float(better.mean())
            for kind in set(kinds):
                keys[f"anomaly_{measure}_wins_over_{name}_{kind}"] = float(better[kinds == kind].mean())
    keys |= _false_alarms(ours, cases)
    for family, size in SPEED.items():
        keys |= _speed(family, size, points)
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
    """Every second real series from the second on, or from the first on, with anomalies of each kind in turn."""
    return injections.cases(injections.usable(real.series())[int(reporting) :: 2])


def _speed(family: str, size: str, points: int) -> dict[str, float]:
    """Seconds and CPU seconds of a service for 10,000 points, and for the newest block of a series as long."""
    options = ("--model-folder", str(common.checkpoint(family, size))) if size else ()
    process, port = common.serve(family, "--threads", str(common.THREADS), *options)
    series = common.waves([points])[0].tolist()
    try:
        common.until_ready(process, port)
        _seconds(port, series[:200])  # the first request prepares the weights
        before = common.cpu_s(process.pid)
        seconds, cpu = _seconds(port, series), common.cpu_s(process.pid) - before
        newest = _seconds(port, series, window=BLOCK)
    finally:
        process.terminate()
        process.wait()
    scale = 10_000 / points
    return {
        f"anomaly_s_10k_{family}": seconds * scale,
        f"anomaly_cpu_s_10k_{family}": cpu * scale,
        f"anomaly_s_newest_{family}": newest,
    }


def _seconds(port: int, series: list[float], **parameters: int) -> float:
    """Until the whole answer is there.

    Raises:
        RuntimeError: it is no answer.
    """
    body = json.dumps({"inputs": [{"target": series}], "parameters": parameters}).encode()
    began = time.perf_counter()
    reply = common.exchange(f"http://127.0.0.1:{port}/v1/anomaly_detection", body, timeout_s=300)
    seconds = time.perf_counter() - began
    if reply.status != 200 or b'"error"' in reply.body:
        raise RuntimeError(f"{reply.status}: {reply.body[:200]!r}")
    return seconds


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
        for batch in chunks(items, self.model.batch_points // 2):
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
