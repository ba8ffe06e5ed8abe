"""What toto-2 2.0.0 answers for a small random checkpoint: ``make reference FAMILY=toto`` writes toto.npz.

The package asks for Python 3.12, so it cannot be in the development environment's lock: it lies in a folder of its own,
from toto.txt. ``tests/families/test_toto.py`` compares our answers with these numbers. The command also prints how long
both take with the weights of 4m and 22m in size, context 512 and horizon 48.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from statistics import median

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent)]

from checkpoints import toto as maker  # noqa: E402  (the line above adds its path)

# points, points missing in the middle, points missing at the end, horizon
CASES = [
    (3, 0, 0, 5),  # fewer points than make a scale, in one patch with zeros
    (20, 2, 0, 40),
    (40, 0, 1, 10),
    (150, 70, 5, 32),  # a whole patch is missing
    (200, 3, 40, 33),  # the last patch is missing: it counts as observed
    (512, 0, 0, 48),
    (300, 1, 0, 300),
]
# Configurations other than the published ones, each with the case of 150 points.
CHANGED: list[dict[str, object]] = [
    {"variate_layer_first": True},
    {"layer_group_size": 4},
    {"use_xpos": False},
    {"per_dim_scale": False},
    {"attn_bias": False},
    {"mlp_bias": True},
    {"norm_eps": 0.1},
]
# Variates that are forecast together: size, variates, points, horizon.
TOGETHER = [("tiny", 3, 70, 12), ("tiny", 8, 200, 33)] + [
    (size, variates, 512, 40) for size in ("4m", "22m") for variates in (2, 8)
]
Answer = Callable[[np.ndarray, int], np.ndarray]


def variates(count: int, points: int) -> np.ndarray:
    """Variates of unit spread that begin one after the other, (count, points) float32, with gaps of their own."""
    made = np.concatenate([batch(points + at, 0, 0)[:1, at:] for at in range(count)])
    for at, row in enumerate(made):
        row[: at * points // (2 * count)] = np.nan
        row[points // 2 + at : points // 2 + at + 40 * (at % 3)] = np.nan  # of one variate whole patches are missing
        row[points - at % 2 * 35 :] = np.nan  # of one more than the last patch is
        row -= np.nanmean(row)
        row /= np.nanstd(row)
    return made


def batch(points: int, middle: int, end: int) -> np.ndarray:
    """Two series of unit spread, (2, points) float32, NaN where missing."""
    noise = np.random.default_rng(points).normal(size=(2, points))
    values = np.sin(np.arange(points) / 5) + 0.01 * np.arange(points) + 0.3 * noise
    values = (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True)
    values[:, points // 3 : points // 3 + middle] = np.nan
    values[:, points - end :] = np.nan
    return values.astype(np.float32)


def digest(folder: Path) -> str:
    """SHA-256 of the checkpoint's weights: the answers are of these alone."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def package(folder: Path) -> Answer:
    """The package's forecast with the settings of its GluonTS model.

    From (b, variates, points) to (b, variates, 9, horizon), or of single series from (b, points) to (b, 9, horizon).
    """
    import torch
    from toto2 import Toto2GluonTSModelConfig, Toto2Model
    from toto2.model import ffill_imputation

    model = Toto2Model.from_pretrained(str(folder)).eval()
    usual = Toto2GluonTSModelConfig(prediction_length=1, context_length=1, target_dim=1)

    @torch.inference_mode()
    def forecast(values: np.ndarray, horizon: int) -> np.ndarray:
        if values.ndim == 2:
            return forecast(values[:, None], horizon)[:, 0]
        front = ((0, 0), (0, 0), (-values.shape[2] % maker.PATCH, 0))
        filled = np.stack([ffill_imputation(one) for one in values])
        inputs = {
            "target": torch.from_numpy(np.pad(filled, front)),
            "target_mask": torch.from_numpy(np.pad(~np.isnan(values), front)),
            "series_ids": torch.zeros(values.shape[:2], dtype=torch.long),
        }
        options = {
            "decode_block_size": usual.decode_block_size,
            "has_missing_values": usual.has_missing_values,
            "scaler_fallback_min_obs": usual.scaler_fallback_min_obs,
            "quantile_real_cap_k": usual.quantile_real_cap_k,
        }
        return model.forecast(inputs, horizon, **options).permute(1, 2, 0, 3).numpy()

    return forecast


def ours(folder: Path) -> Answer:
    from tsfm import families
    from tsfm.series import Runtime, Series

    model = families.load("toto", folder, Runtime(threads=2))
    return lambda values, horizon: np.stack(
        [one.median for one in model.forecast([Series(row) for row in values], horizon, [0.1, 0.9])]
    )


def main() -> None:
    import torch
    from toto2 import Toto2ModelConfig

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for size in ("tiny", "4m", "22m"):
            maker.make(folder / size, size)
        made = {"keys": np.array([field.name for field in fields(Toto2ModelConfig)])}
        made |= {f"weights_{size}": np.array(digest(folder / size)) for size in ("tiny", "4m", "22m")}
        official = package(folder / "tiny")
        made |= {f"case{at}": official(batch(*case[:3]), case[3]) for at, case in enumerate(CASES)}
        for at, (size, count, points, horizon) in enumerate(TOGETHER):
            made[f"together{at}"] = package(folder / size)(variates(count, points)[None], horizon)[0]
        for at, change in enumerate(CHANGED):
            maker.make(folder / str(at), **change)
            official = package(folder / str(at))
            made[f"changed{at}"] = official(batch(*CASES[3][:3]), CASES[3][3])
            made[f"changed_together{at}"] = official(variates(*TOGETHER[0][1:3])[None], TOGETHER[0][3])[0]
        np.savez_compressed(HERE / "toto.npz", **made)
        print(f"toto.npz: {(HERE / 'toto.npz').stat().st_size} bytes")
        torch.set_num_threads(2)
        for size in ("4m", "22m"):
            sides = package(folder / size), ours(folder / size)
            for count in (1, 8):
                values = np.resize(batch(512, 0, 0), (count, 512))
                slow, fast = _ms(sides, values)
                print(f"toto_{size}_speedup_b{count}: {slow / fast:.1f} ({slow:.1f} ms over {fast:.1f} ms)")
            drift = np.abs(sides[0](values, 48)[:, 4] - sides[1](values, 48)).max()
            print(f"toto_{size}_quality_drift: {drift:.4f}")


def _ms(sides: tuple[Answer, Answer], values: np.ndarray) -> list[float]:
    """Median milliseconds of both, in turns; the first two turns are a warm-up."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(12):
        for side, taken in zip(sides, times, strict=True):
            began = time.perf_counter()
            side(values, 48)
            taken.append(time.perf_counter() - began)
    return [1000 * median(taken[2:]) for taken in times]


if __name__ == "__main__":
    main()
