"""What tirex-2 0.4.0 answers for a small random checkpoint: ``make reference FAMILY=tirex`` writes tirex.npz.

The package needs mlstm-kernels, whose licence has terms for companies, so neither is in the development environment:
they lie in a folder of their own, from tirex.txt. ``tests/families/test_tirex.py`` compares our answers with these
numbers. The command also prints the CPU time of both with the weights of TiRex-2 in size, context 512 and horizon 48.
"""

from __future__ import annotations

import hashlib
import inspect
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent)]

from checkpoints import tirex as maker  # noqa: E402  (the line above adds its path)


@dataclass(frozen=True)
class Task:
    """What one forecast is made from: shapes (variates, n), (p, n) and (f, n + horizon), float32, NaN where missing."""

    target: np.ndarray
    past: np.ndarray
    future: np.ndarray


@dataclass(frozen=True)
class Case:
    """Two tasks of one shape; ``gap``: points missing in the middle, and as many at the end."""

    points: int
    horizon: int
    kind: str = "walk"  # "line": a strong trend, "marks": zeros and ones
    gap: int = 0
    variates: int = 1
    past: int = 0
    future: int = 0

    def tasks(self) -> list[Task]:
        source = np.random.default_rng(self.points + 100 * self.horizon)
        return [self._task(source) for _ in range(2)]

    def _task(self, source: np.random.Generator) -> Task:
        at = np.arange(self.points)
        target = source.normal(size=(self.variates, self.points)).cumsum(axis=1) + 3 * np.sin(at / 4)
        if self.kind == "marks":
            target = source.random(target.shape) < 0.3
        if self.kind == "line":
            target[0] = 0.1 * target[0] + at  # the other variates have no trend
        if self.kind != "marks":
            target = (target - target.mean(axis=1, keepdims=True)) / target.std(axis=1, keepdims=True)
        target = target.astype(np.float32)
        target[:, self.points // 3 :][:, : self.gap] = np.nan
        target[:, self.points - self.gap // 2 :] = np.nan
        past = source.normal(size=(self.past, self.points)).astype(np.float32)
        future = source.normal(size=(self.future, self.points + self.horizon)).astype(np.float32)
        future[1::3] = future[1::3] > 0  # marks
        future[2::3, self.points :] = np.nan  # not known ahead after all
        past[:, self.points // 2 :][:, : self.gap] = np.nan
        return Task(target, past, future)


CASES = [
    Case(2, 5),
    Case(3, 5),
    Case(8, 8),  # one whole patch
    Case(41, 9),
    Case(64, 32),  # all there is room for
    Case(100, 20, "line", variates=2, future=1),
    Case(50, 20, gap=9),  # a whole patch is missing
    Case(50, 20, "line"),
    Case(50, 20, "line", gap=4),
    Case(50, 20, "marks"),
    Case(50, 20, past=2),
    Case(50, 20, variates=3, gap=4),
    Case(50, 20, future=1),
    Case(20, 32, "line", variates=2, past=1, future=3, gap=4),
]
MIXED = CASES[-1]
# Beyond the points ahead that the package has: it is given more of them.
BEYOND = [Case(40, 80), Case(40, 80, past=1, future=2)]
OTHER = {"a": maker.template("slstm", 32, 4), "b": maker.template("mlstm", 32, 4)}
# Configurations other than the published one, each with the case MIXED.
CHANGED: list[dict[str, object]] = [
    {"use_qk_norm": False},
    {"stack_out_norm_config": None},
    {"stack_out_norm_config": {"eps": 0.1, "use_rmsnorm": True}},
    {"scaler_cfg": {"use_arcsinh": False, "binaryaware": False, "eps": 0.5}},
    {"scaler_cfg": {"use_arcsinh": True, "eps": 1.0}},
    {"act_func": "torch.nn.GELU"},
    {"act_func": "ReLU"},
    {"tta_sign_flip": True},
    {"tta_diff": False},
    {"h_expand": 2.5},
    {"context_len": 48},
    {"future_len": 64},
    {"quantiles": [0.05, 0.2, 0.35, 0.4, 0.5, 0.6, 0.65, 0.8, 0.95]},
    {"num_blocks": 3, "stack_config": {"recipe": ["a", "b", "a"], "templates": OTHER}},
]
Answer = Callable[[Sequence[Task], int], np.ndarray]


def digest(folder: Path) -> str:
    """SHA-256 of the checkpoint's weights: the answers are of these alone."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def package(folder: Path, compiled: bool = False) -> Answer:
    """The package's forecast: tasks to (tasks, variates, quantiles, horizon)."""
    import torch
    from tirex2 import TimeseriesType, load_model

    torch.compiler.set_stance("default" if compiled else "force_eager")
    model = load_model(str(folder), device="cpu", compile=compiled)

    def given(rows: np.ndarray) -> torch.Tensor | None:
        return torch.from_numpy(rows) if len(rows) else None

    def forecast(tasks: Sequence[Task], horizon: int) -> np.ndarray:
        series = [TimeseriesType(torch.from_numpy(one.target), given(one.past), given(one.future)) for one in tasks]
        return np.stack(model.forecast(series, horizon, output_type="numpy"))

    return forecast


def ours(folder: Path) -> Answer:
    from tsfm import families
    from tsfm.series import Runtime, Series

    model = families.load("tirex", folder, Runtime())
    return lambda tasks, horizon: np.stack(
        [one.median for one in model.forecast([Series(task.target[0]) for task in tasks], horizon, [0.1, 0.9])]
    )


def store(folder: Path) -> None:
    from tirex2.model import TiRex2

    def made(case: Case, **changed: object) -> np.ndarray:
        maker.make(folder, **changed)
        return package(folder)(case.tasks(), case.horizon)

    answers = {f"beyond{at}": made(case, future_len=case.horizon) for at, case in enumerate(BEYOND)}
    answers |= {f"changed{at}": made(MIXED, **changed) for at, changed in enumerate(CHANGED)}
    answers |= {f"case{at}": made(case) for at, case in enumerate(CASES)}
    keys = np.array(sorted(set(inspect.signature(TiRex2).parameters) - {"args", "kwargs"}))
    np.savez_compressed(HERE / "tirex.npz", weights=np.array(digest(folder)), keys=keys, **answers)
    print(f"tirex.npz: {(HERE / 'tirex.npz').stat().st_size} bytes")


def compare(folder: Path) -> None:
    """Print the speed of both; of the package also compiled, which takes minutes, where there is a compiler."""
    import torch

    torch.set_num_threads(1)
    maker.make(folder, "38m")
    fast, task = ours(folder), Case(512, 48).tasks()[0]
    slow = package(folder)
    drift = np.abs(np.sort(slow([task], 48)[:, 0], axis=1)[:, 4] - fast([task], 48)).max()
    print(f"tirex_quality_drift: {drift:.1e}")
    for count in (1, 8):
        theirs, own = _ms((slow, fast), [task] * count)
        print(f"tirex_speedup_b{count}: {theirs / own:.1f} ({theirs:.1f} ms over {own:.1f} ms)")
    if shutil.which("g++"):
        theirs, own = _ms((package(folder, compiled=True), fast), [task])
        print(f"tirex_speedup_b1, compiled: {theirs / own:.1f} ({theirs:.1f} ms over {own:.1f} ms)")


def main() -> None:
    for act in (store, compare):
        with tempfile.TemporaryDirectory() as folder:
            act(Path(folder))


def _ms(sides: tuple[Answer, Answer], tasks: list[Task]) -> list[float]:
    """Median milliseconds of CPU time of both, in turns; the first two turns are a warm-up."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(8):
        for side, taken in zip(sides, times, strict=True):
            began = time.process_time()
            side(tasks, 48)
            taken.append(time.process_time() - began)
    return [1000 * median(taken[2:]) for taken in times]


if __name__ == "__main__":
    main()
