"""How well scores rank labelled anomalies: the areas under precision and recall, by point and by range.

VUS-PR is the volume under the surface of Paparrizos et al. 2022 ("Volume Under the Surface", VLDB): labels fall from 1
at the edge of an anomaly to the square root of a half at half a buffer, recall counts how many anomalies were met
at all, and the area is averaged over buffers from 0 to a longest one.
"""

from __future__ import annotations

import numpy as np

BUFFERS = 9


def auc_pr(labels: np.ndarray, scores: np.ndarray) -> float:
    """Average precision; points of equal score count together."""
    order = np.argsort(-scores, kind="stable")
    last = _last_of_equals(scores[order])
    hits = np.cumsum(labels[order])[last]
    return _area(hits / hits[-1], hits / (last + 1))


def vus_pr(labels: np.ndarray, scores: np.ndarray, longest: int) -> float:
    """The mean over buffers of up to ``longest`` points."""
    buffers = np.unique(np.linspace(0, longest, BUFFERS).astype(int))
    return float(np.mean([_range_auc_pr(labels, scores, int(buffer)) for buffer in buffers]))


def _range_auc_pr(labels: np.ndarray, scores: np.ndarray, buffer: int) -> float:
    soft = _softened(labels, buffer)
    edges = np.diff(np.concatenate(([0], (soft > 0).astype(int), [0])))
    spans = zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True)
    tops = np.sort([scores[start:stop].max() for start, stop in spans])
    order = np.argsort(-scores, kind="stable")
    last = _last_of_equals(scores[order])
    hits = np.cumsum(soft[order])[last]
    met = 1 - np.searchsorted(tops, scores[order][last], "left") / len(tops)
    positives = (labels.sum() + soft.sum()) / 2
    return _area(np.minimum(hits / positives, 1) * met, hits / (last + 1))


def _softened(labels: np.ndarray, buffer: int) -> np.ndarray:
    odd = np.flatnonzero(labels)
    at = np.arange(len(labels))
    right = np.clip(np.searchsorted(odd, at), 0, len(odd) - 1)
    apart = np.minimum(np.abs(odd[right] - at), np.abs(odd[np.maximum(right - 1, 0)] - at))
    near = np.sqrt(np.maximum(1 - apart / max(buffer, 1), 0))
    return np.where(labels, 1.0, np.where(apart <= buffer // 2, near, 0.0))


def _last_of_equals(descending: np.ndarray) -> np.ndarray:
    return np.append(np.flatnonzero(np.diff(descending)), len(descending) - 1)


def _area(recall: np.ndarray, precision: np.ndarray) -> float:
    return float(np.sum(np.diff(recall, prepend=0) * precision))
