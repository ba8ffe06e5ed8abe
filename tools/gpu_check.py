"""Check every family on a GPU: the CPU's numbers, speed, memory and a soak, written as one JSON.

It runs alone on a machine that has torch with CUDA and numpy, without a package index: this source tree is all it
needs. ``--device cpu`` checks on a CPU all that a CPU can check. Small checkpoints with random weights are compared;
larger ones are timed. They are made here (tests/checkpoints), or taken from ``--checkpoints``, which ``--prepare``
fills on another machine; Fracast's weights come from its package, so without it they are taken from there.

Exit status: 0 all checks passed, 1 one did not, 2 no such device.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.util
import json
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
if not importlib.util.find_spec("safetensors"):
    sys.path.append(str(ROOT / "tools" / "bare"))

import numpy as np  # noqa: E402  (the lines above add the paths)
import torch  # noqa: E402

from tsfm import families, official  # noqa: E402
from tsfm.errors import ConfigError  # noqa: E402
from tsfm.series import FloatArray, Runtime, Series  # noqa: E402

if TYPE_CHECKING:
    from tsfm.series import Model

# name: family, size of its small checkpoint, size of the one that is timed
CASES = {
    "chronos_bolt": ("chronos", "tiny", "bolt-base"),
    "chronos_2": ("chronos", "tiny2", "chronos-2"),
    "flowstate": ("flowstate", "tiny", "r1.1"),
    "fracast": ("fracast", "", ""),
    "moirai_moe": ("moirai", "tiny", "moe-small"),
    "moirai_2": ("moirai", "tiny2", "2-small"),
    "moment": ("moment", "tiny", "small"),
    "tdtsfm": ("tdtsfm", "tiny", "v1"),
    "timemoe": ("timemoe", "tiny", "50M"),
    "timesfm": ("timesfm", "tiny", "500m"),
    "timesfm_25": ("timesfm", "tiny25", "2.5-200m"),
    "tirex": ("tirex", "tiny", "38m"),
    "toto": ("toto", "tiny", "4m"),
}
SAMPLED = ("moirai_moe",)  # a draw near the border of two components may fall on either side: the mean counts
LENGTHS, HORIZONS = (512, 301, 120, 97), (24, 200)
POINTS, STEPS = 512, 48  # what is timed
LEVELS = (0.1, 0.5, 0.9)
BATCHES = (1, 8, 32, 128, 512)
LONGEST_S = 2.0  # a batch that takes longer is the last: the next is larger
GROWTH_MIB = 64  # of memory in a soak, after its first round


@dataclass(frozen=True)
class Check:
    """What was asked for on the command line, and where checkpoints are."""

    device: str
    tolerance: float
    seconds: float
    batches: tuple[int, ...]
    real: bool
    folder: Path

    @property
    def runtime(self) -> Runtime:
        return Runtime(self.device, "auto", _threads() if self.device == "cpu" else 1)

    def run(self, name: str) -> dict[str, object]:
        """The results of one family, and of its maker's package where it is installed."""
        family, small, large = CASES[name]
        folder = checkpoint(self.folder, family, small)
        exact = families.load(family, folder, Runtime("cpu", "float32", _threads()))
        float32 = families.load(family, folder, Runtime(self.device, "float32", self.runtime.threads))
        apart = max(parity(exact, float32, horizon, name in SAMPLED) for horizon in HORIZONS)
        served = families.load(family, folder, self.runtime)
        # Of the medians: where an interval's rule has a step, a tiny difference may take it.
        drift = max(parity(exact, served, horizon, True, ()) for horizon in HORIZONS)
        del exact, float32, served
        gc.collect()
        peak_mib(self.device)  # from here on
        folder = checkpoint(self.folder, family, large if self.real else small)
        model = families.load(family, folder, self.runtime)
        found: dict[str, object] = {"parity": apart, "parity_met": apart <= self.tolerance}
        found |= {"path": model.path, "mean_drift_as_served": drift}
        found |= {"series_per_s": self._speed(model), "peak_mib": peak_mib(self.device)}
        del model
        try:
            theirs = official.load(family, folder, Runtime(self.device, "float32", self.runtime.threads))
            return found | {"official": theirs.path, "official_series_per_s": self._speed(theirs)}
        except Exception as error:  # noqa: BLE001  their code, on a machine that they may not know
            return found | {"official": f"left out: {type(error).__name__}: {error}"}

    def _speed(self, model: Model) -> dict[str, float | str]:
        """Series per second by batch size, with levels where the model has quantiles of its own."""
        levels = LEVELS if model.capabilities.native_quantiles else ()
        found: dict[str, float | str] = {}
        for count in self.batches:
            batch = [Series(wave) for wave in waves([min(POINTS, model.max_context)] * count)]
            try:
                answers(model, batch, STEPS, levels)
                began, calls = time.monotonic(), 0
                while calls == 0 or time.monotonic() < began + self.seconds:
                    answers(model, batch, STEPS, levels)
                    calls += 1
            except torch.OutOfMemoryError:
                found[str(count)] = "out of memory"
                break
            one = (time.monotonic() - began) / calls
            found[str(count)] = round(count / one, 1)
            if one > LONGEST_S:
                break
        return found

    def soak(self, names: list[str], minutes: float) -> dict[str, object]:
        """Ask all families in turns; each answer must equal the one to the same series before, and memory stay."""
        models = {name: self._small(name) for name in names}
        batches = [[Series(wave) for wave in waves(LENGTHS[at:], seed=at)] for at in range(len(LENGTHS))]
        work = [(name, batch, horizon) for name in names for batch in batches for horizon in HORIZONS]
        first = [answers(models[name], batch, horizon, LEVELS) for name, batch, horizon in work]
        end, calls, wrong, early, late = time.monotonic() + 60 * minutes, 0, 0, 0.0, 0.0
        while calls == 0 or time.monotonic() < end:
            for (name, batch, horizon), expected in zip(work, first, strict=True):
                made = answers(models[name], batch, horizon, LEVELS)
                calls += 1
                wrong += distance(made, expected, mean=name in SAMPLED) > self.tolerance
            late = in_use_mib(self.device)
            early = early or late
        passed = not wrong and late - early <= GROWTH_MIB
        return {"minutes": minutes, "calls": calls, "wrong": wrong, "growth_mib": late - early, "passed": passed}

    def _small(self, name: str) -> Model:
        family, small, _ = CASES[name]
        return families.load(family, checkpoint(self.folder, family, small), self.runtime)


def parity(exact: Model, model: Model, horizon: int, mean: bool, levels: tuple[float, ...] = LEVELS) -> float:
    """The largest difference, or mean, of a batch of several lengths from its series one by one on a CPU in float32."""
    batch = [Series(wave) for wave in waves(LENGTHS)]
    alone = [answers(exact, [one], horizon, levels)[0] for one in batch]
    return distance(answers(model, batch, horizon, levels), alone, mean)


def distance(made: list[FloatArray], expected: list[FloatArray], mean: bool) -> float:
    """In deviations of what is expected, or of the series where that is larger; inf where one is no number."""
    found = 0.0
    for one, other in zip(made, expected, strict=True):
        apart = np.abs(one - other) / max(1.0, float(np.std(other)))
        value = float(apart.mean() if mean else apart.max())
        found = max(found, value if np.isfinite(value) else np.inf)
    return found


def answers(model: Model, batch: list[Series], horizon: int, levels: tuple[float, ...]) -> list[FloatArray]:
    """Rows of each forecast, or of each series whose middle was imputed."""
    if model.capabilities.imputation:
        holes = [np.array(series.target) for series in batch]
        for hole in holes:
            hole[len(hole) // 4 : len(hole) // 4 + min(horizon, len(hole) // 2)] = np.nan
        return list(model.impute([Series(hole) for hole in holes]))
    made = model.forecast(batch, horizon, levels)
    return [np.vstack((one.median, one.quantiles)) for one in made]


def waves(lengths: tuple[int, ...] | list[int], seed: int = 0) -> Iterator[FloatArray]:
    """Noisy daily waves of unit spread."""
    source = np.random.default_rng(seed)
    for length in lengths:
        wave = np.sin(2 * np.pi * np.arange(length) / 24) + source.normal(0, 0.3, length)
        yield ((wave - wave.mean()) / wave.std()).astype(np.float32)


def checkpoint(folder: Path, family: str, size: str) -> Path | None:
    """The checkpoint in ``folder``, made there if it is missing; None: in the family's package."""
    target = folder / (f"{family}-{size}" if size else family)
    if size and not target.exists():
        importlib.import_module(f"checkpoints.{family}").make(target.with_name("partial"), size)
        target.with_name("partial").rename(target)
    return target if target.exists() else None


def prepare(folder: Path, real: bool) -> None:
    """Make all checkpoints for a machine that cannot."""
    folder.mkdir(parents=True, exist_ok=True)
    for family, small, large in CASES.values():
        for size in {small, large if real else small}:
            checkpoint(folder, family, size)
    found = importlib.util.find_spec("fracast")
    if found and found.submodule_search_locations and not (folder / "fracast").exists():
        shutil.copytree(Path(found.submodule_search_locations[0]) / "weights", folder / "fracast")


def in_use_mib(device: str) -> float:
    if device != "cpu":
        return torch.cuda.memory_allocated(device) / 2**20
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak_mib(device: str) -> float:
    """On a CPU that of the whole process so far."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    peak = torch.cuda.max_memory_allocated(device) / 2**20
    torch.cuda.reset_peak_memory_stats(device)
    return peak


def _threads() -> int:
    return len(os.sched_getaffinity(0))


def _machine(device: str) -> dict[str, object]:
    card = platform.processor() or platform.machine() if device == "cpu" else torch.cuda.get_device_name(device)
    return {"device": device, "card": card, "torch": torch.__version__, "python": platform.python_version()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu")
    parser.add_argument("--families", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    parser.add_argument("--checkpoints", type=Path, help="folder that --prepare has filled")
    parser.add_argument("--prepare", type=Path, metavar="FOLDER", help="only make the checkpoints")
    parser.add_argument("--small", action="store_true", help="time the small checkpoints, not those of real size")
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES, help="batch sizes that are timed")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each batch size")
    parser.add_argument("--minutes", type=float, default=5.0, help="of the soak")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="of parity, in deviations")
    parser.add_argument("--output", type=Path, default=Path("gpu_check.json"))
    args = parser.parse_args()
    if args.prepare:
        prepare(args.prepare, not args.small)
        return 0
    if args.device != "cpu" and not torch.cuda.is_available():
        print(f"torch {torch.__version__} finds no CUDA device; --device cpu checks what a CPU can", file=sys.stderr)
        return 2
    with ExitStack() as stack:
        folder = args.checkpoints or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        check = Check(args.device, args.tolerance, args.seconds, tuple(args.batches), not args.small, folder)
        found, left_out, failed = _each(args.families, check.run)
        soak = check.soak(list(found), args.minutes) if found else {"passed": False}
    passed = not failed and bool(soak["passed"]) and all(one["parity_met"] for one in found.values())
    result = _machine(args.device) | {"families": found, "left_out": left_out, "failed": failed}
    result |= {"soak": soak, "passed": passed}
    args.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    return 0 if passed else 1


def _each(
    names: list[str], run: Callable[[str], dict[str, object]]
) -> tuple[dict[str, dict[str, object]], dict[str, str], dict[str, str]]:
    """The results by family; why some have none, since what they need is not on this machine; and what failed."""
    found, left_out, failed = {}, {}, {}
    for name in names:
        try:
            found[name] = run(name)
        except ConfigError as error:
            left_out[name] = str(error)
        except Exception as error:  # noqa: BLE001  the others are checked all the same
            traceback.print_exc()
            failed[name] = f"{type(error).__name__}: {error}"
        print(name, json.dumps(found.get(name)), file=sys.stderr, flush=True)
    return found, left_out, failed


if __name__ == "__main__":
    sys.exit(main())
