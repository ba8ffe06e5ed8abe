"""Cost of one series against its length and against the horizon, of each family and of its maker's package.

Costs are CPU time, the least of some calls: other work on the machine changes it less than time by the clock. Writes
build/length.json, build/length.md, a table of it, and build/length.svg. ``python -m bench.length KEY SIZE NUMBERS``
measures one family in this process and prints JSON.
"""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from bench import common

if TYPE_CHECKING:
    from tsfm.series import Model

# key: family, size of its checkpoint
CASES = {
    "chronos_bolt": ("chronos", "bolt-tiny"),
    "chronos_2": ("chronos", "chronos-2"),
    "flowstate": ("flowstate", "r1.1"),
    "fracast": ("fracast", ""),
    "moirai_moe": ("moirai", "moe-small"),
    "moirai_2": ("moirai", "2-small"),
    "moment": ("moment", "small"),
    "tdtsfm": ("tdtsfm", "v1"),
    "timemoe": ("timemoe", "50M"),
    "timesfm": ("timesfm", "500m"),
    "tirex": ("tirex", "38m"),
    "toto": ("toto", "4m"),
}
POINTS = (512, 1024, 2048, 4096, 8192, 16384, 40_000)  # the last one is the default of max_rows
STEPS = (48, 96, 192, 384, 768, 1024)
LEVELS = (0.1, 0.9)
TURNS, ENOUGH_S = 3, 1.0  # calls for one cost, fewer where they take longer
LONG_S = 5.0  # a limit for the makers' packages

Costs = dict[str, dict[str, float]]  # of "points" and "steps": seconds by their number


def run(
    keys: Sequence[str] = tuple(CASES),
    size: str | None = None,
    points: Sequence[int] = POINTS,
    steps: Sequence[int] = STEPS,
) -> dict[str, float]:
    """Measure each family in its own process; ``size``: of all checkpoints, instead of the real ones."""
    from tsfm.system import preload

    environment = common.environment(**preload.TORCH)  # as the service sets it
    measured: dict[str, dict[str, Costs]] = {}
    for key in keys:
        family, usual = CASES[key]
        chosen = usual and (size or usual)
        if chosen:
            common.checkpoint(family, chosen)
        arguments = [key, chosen, json.dumps([points, steps])]
        command = [sys.executable, "-W", "ignore", "-m", "bench.length", *arguments]
        ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        measured[key] = json.loads(ended.stdout.splitlines()[-1])
        (common.BUILD / "length.json").write_text(json.dumps(measured, indent=1) + "\n")
        (common.BUILD / "length.md").write_text(table(measured))
    _draw(measured)
    return {name: value for key, sides in measured.items() for name, value in _keys(key, sides)}


def _keys(key: str, sides: Mapping[str, Costs]) -> list[tuple[str, float]]:
    found = [
        (f"length_{side}_{key}_{kind}_{number}_ms", seconds * 1000)
        for side, costs in sides.items()
        for kind, by_number in costs.items()
        for number, seconds in by_number.items()
    ]
    theirs = sides.get("official", {})
    jumps = [jump(costs, theirs.get(kind, {})) for kind, costs in sides["ours"].items()]
    return [*found, (f"length_jump_{key}", max(jumps))]


def jump(costs: Mapping[str, float], theirs: Mapping[str, float]) -> float:
    """The largest growth of the cost from one number to the next, over what is expected; above 1 is a cliff.

    Expected is growth in proportion, or that of the maker's package where it is larger: beyond one pass Chronos-Bolt
    and Moirai-2 forecast nine paths by their design, which no network avoids.
    """
    found = []
    for small, large in pairwise(costs):
        known = small in theirs and large in theirs
        expected = max(int(large) / int(small), theirs[large] / theirs[small] if known else 0)
        found.append(costs[large] / costs[small] / expected)
    return max(found)


@dataclass(frozen=True)
class Side:
    """A loaded model, asked as the service asks it: scaled, and cut to what the model looks at.

    Attributes:
        limit_s: after a call that takes longer, larger ones are left out.
    """

    model: Model
    levels: tuple[float, ...]
    limit_s: float = math.inf

    def around(self, steps: int, points: int) -> int:
        """Points of a series for so many steps: a gap, which is imputed, takes half of the series at most."""
        return max(points, 2 * steps) if self.model.capabilities.imputation else points

    def costs(self, calls: Mapping[int, tuple[int, int]]) -> dict[str, float]:
        """CPU seconds of calls with so many points and steps, by the number that names each."""
        found: dict[str, float] = {}
        for number, (points, steps) in calls.items():
            if not found:
                self.call(points, steps)()  # the first call takes longer
            found[str(number)] = _cpu_s(self.call(points, steps))
            if found[str(number)] > self.limit_s:
                break
        return found

    def call(self, points: int, steps: int) -> Callable[[], object]:
        from tsfm.numerics.scaling import standardise
        from tsfm.series import Series

        (wave,) = common.waves([points])
        if self.model.capabilities.imputation:  # the steps are a gap in the middle
            wave[(points - steps) // 2 : (points + steps) // 2] = np.nan
            whole, _ = standardise(Series(wave), False)
            return lambda: self.model.impute([whole])
        context = min(self.model.max_context, self.model.context_for(steps, (0, 0)))
        cut, _ = standardise(Series(wave), False, context)
        return lambda: self.model.forecast([cut], steps, self.levels)


def measure(key: str, size: str, points: Sequence[int], steps: Sequence[int]) -> dict[str, Costs]:
    """The costs of our network and, where there is one, of the maker's package."""
    from tsfm import families, official
    from tsfm.series import Runtime

    family, _ = CASES[key]
    folder = common.checkpoint(family, size) if size else None
    sides = {"ours": Side(families.load(family, folder, Runtime(threads=common.THREADS)), LEVELS)}
    if family in official.names():
        theirs = official.load(family, folder, Runtime(threads=common.THREADS, dtype="float32"))
        # Time-MoE's code predicts points only.
        sides["official"] = Side(theirs, LEVELS if theirs.capabilities.native_quantiles else (), LONG_S)
    return {
        name: {
            "points": side.costs({n: (n, min(steps)) for n in points}),
            "steps": side.costs({n: (side.around(n, min(points)), n) for n in steps}),
        }
        for name, side in sides.items()
    }


def _cpu_s(act: Callable[[], object]) -> float:
    times: list[float] = []
    while len(times) < TURNS and sum(times) < ENOUGH_S:
        began = time.process_time()
        act()
        times.append(time.process_time() - began)
    return min(times)


def table(measured: Mapping[str, Mapping[str, Costs]]) -> str:
    """CPU seconds of each family, and of its maker's package in brackets."""
    columns = [(kind, number) for kind in ("points", "steps") for number in _numbers(measured, kind)]
    heads = [f"{number:,} {kind}" for kind, number in columns]
    rows = [f"| family | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    rows += [f"| {key} | {' | '.join(_cell(sides, *at) for at in columns)} |" for key, sides in measured.items()]
    return "\n".join(rows) + "\n"


def _numbers(measured: Mapping[str, Mapping[str, Costs]], kind: str) -> list[int]:
    """All numbers; the smallest number of steps is that of the columns of points."""
    found = sorted({int(number) for sides in measured.values() for number in sides["ours"][kind]})
    return found if kind == "points" else found[1:]


def _cell(sides: Mapping[str, Costs], kind: str, number: int) -> str:
    ours, theirs = (sides.get(side, {}).get(kind, {}).get(str(number)) for side in ("ours", "official"))
    return ("-" if ours is None else f"{ours:.2g}") + (f" ({theirs:.2g})" if theirs is not None else "")


def _draw(measured: Mapping[str, Mapping[str, Costs]]) -> None:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams |= {
        "svg.fonttype": "none",
        "svg.hashsalt": "length",
    }  # text stays text; equal figures, equal file
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4.5), sharey=True, layout="constrained")
    for axis, kind in zip(axes, ("points", "steps"), strict=True):
        for at, (key, sides) in enumerate(measured.items()):
            for side, style in (("ours", "-"), ("official", ":")):
                costs = sides.get(side, {}).get(kind, {})
                label = key if side == "ours" and kind == "points" else None
                axis.plot([int(n) for n in costs], list(costs.values()), style, marker=".", color=f"C{at}", label=label)
        axis.set(xscale="log", yscale="log", xlabel=kind)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("CPU time of one series, s (dotted: the maker's package)")
    figure.legend(loc="outside right center")
    figure.savefig(common.BUILD / "length.svg", metadata={"Date": None})
    pyplot.close(figure)


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        result = measure(sys.argv[1], sys.argv[2], *json.loads(sys.argv[3]))
    print(json.dumps(result))
