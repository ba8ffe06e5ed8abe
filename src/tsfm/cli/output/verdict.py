"""Are the answers of two engines the same? The verdict, and both engines side by side."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from tsfm import __version__
from tsfm.cli.engines import Measured, Parts
from tsfm.cli.output import columns
from tsfm.cli.prediction import Failure
from tsfm.cli.source.series import Series
from tsfm.numerics import difference
from tsfm.numerics.difference import Difference

# The largest difference in deviations that counts as the same, by the number format of our network.
FLOAT32, BFLOAT16, INT8 = 1e-3, 5e-2, 1e-1
# An official answer that is drawn at random differs from its own repetition. Ours may differ from it so many times as
# much, in the mean.
SCATTERS = 1.5


@dataclass(frozen=True)
class Verdict:
    """The comparison of one family's engines.

    Attributes:
        parts: difference by part of the answer.
        scatter: mean difference of the official answer from its own repetition; 0 where it is not drawn at random.
        bound: on the largest difference; on the mean one where there is a scatter.
        farthest: the series with the largest difference.
        unequal: series that one engine alone could not answer, with its sentence.
    """

    family: str
    series: int
    ours: Measured
    theirs: Measured
    parts: dict[str, Difference]
    scatter: float
    bound: float
    farthest: str
    unequal: list[str]

    @property
    def measured(self) -> float:
        """What the bound is for."""
        return max(part.mean if self.scatter else part.largest for part in self.parts.values())

    @property
    def same(self) -> bool:
        return not self.unequal and self.measured <= self.bound

    def sentence(self) -> str:
        kind = "mean" if self.scatter else "largest"
        drawn = (
            f", as the official answer is drawn at random and scatters by {self.scatter:.2g}" if self.scatter else ""
        )
        measured = f"{kind} difference {self.measured:.2g} deviations in series {self.farthest}, bound {self.bound:.2g}"
        if self.same:
            return f"{self.family}: the same: {measured}{drawn}"
        return "; ".join([f"{self.family}: NOT the same: {measured}{drawn}", *self.unequal, "please report it"])

    def text(self) -> str:
        both = {"native": self.ours, "official": self.theirs}
        rows = [
            ("", *both),
            ("arithmetic", *(str(one.facts.get("path")) for one in both.values())),
            ("one series, ms", *(f"{one.one_ms:.1f}" for one in both.values())),
            (f"{self.series} series, s", *(f"{one.all_s:.2f}" for one in both.values())),
            ("peak memory, MiB", *("-" if one.peak_mib is None else str(one.peak_mib) for one in both.values())),
        ]
        apart = [("difference, deviations", "largest", "mean")]
        apart += [(name, f"{part.largest:.2g}", f"{part.mean:.2g}") for name, part in self.parts.items()]
        weights = self.ours.facts.get("checkpoint")
        head = f"taos-tsfm {__version__}, {platform.machine()}: {self.family}, checkpoint {weights}"
        return "\n\n".join([head, columns.text(rows), columns.text(apart), self.sentence()])

    def fields(self) -> dict[str, object]:
        def speed(one: Measured) -> dict[str, object]:
            numbers = {"one_ms": one.one_ms, "all_s": one.all_s, "peak_mib": one.peak_mib}
            return {"path": one.facts.get("path"), **numbers}

        return {
            "family": self.family,
            "version": __version__,
            "machine": platform.machine(),
            "checkpoint": self.ours.facts.get("checkpoint"),
            "series": self.series,
            "same": self.same,
            "verdict": self.sentence(),
            "bound": self.bound,
            "scatter": self.scatter,
            "difference": {name: asdict(part) for name, part in self.parts.items()},
            "native": speed(self.ours),
            "official": speed(self.theirs),
        }


def judge(family: str, sent: Sequence[Series], ours: Measured, theirs: Measured) -> Verdict:
    """Compare the answers of both engines for the series that were sent."""
    answered = list(zip(sent, ours.answers, theirs.answers, theirs.again, strict=True))
    units = [difference.deviation(np.array(one.column.values, np.float64)) for one in sent]
    distances: dict[str, list[np.ndarray]] = {}
    scatters: dict[str, list[np.ndarray]] = {}
    farthest, unequal = (-1.0, ""), []
    for (one, own, other, again), unit in zip(answered, units, strict=True):
        if isinstance(own, Failure) or isinstance(other, Failure) or isinstance(again, Failure):
            unequal += _one_sided(one.item_id, own, other)
            continue
        for name in own:
            apart = _between(own, other, name, unit)
            distances.setdefault(name, []).append(apart)
            scatters.setdefault(name, []).append(_between(other, again, name, unit))
            farthest = max(farthest, (float(apart.max(initial=0)), one.item_id))
    scatter = max(difference.summary(apart).mean for apart in scatters.values())
    path = str(ours.facts.get("path"))
    exact = FLOAT32 if path.startswith("float32") else INT8 if path.startswith("int8") else BFLOAT16
    parts = {name: difference.summary(apart) for name, apart in distances.items()}
    drawn = scatter > FLOAT32
    bound = max(exact, SCATTERS * scatter) if drawn else exact
    return Verdict(family, len(sent), ours, theirs, parts, scatter if drawn else 0.0, bound, farthest[1], unequal)


def _between(one: Parts, other: Parts, name: str, unit: float) -> np.ndarray:
    return difference.between(np.array(one[name]), np.array(other[name]), unit)


def _one_sided(item: str, own: Parts | Failure, other: Parts | Failure) -> list[str]:
    """A sentence where one engine answers and the other does not."""
    if isinstance(own, Failure) == isinstance(other, Failure):
        return []
    engine, failure = ("native", own) if isinstance(own, Failure) else ("official", other)
    return [f"{item}: {engine} gives no answer: {failure.reason}"] if isinstance(failure, Failure) else []
