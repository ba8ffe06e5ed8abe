"""What timesfm 3.0.2 answers for a small random TimesFM 2.5: ``make reference FAMILY=timesfm`` writes timesfm.npz.

The package has the module name of timesfm 1.3.0, which the development environment holds for TimesFM 2.0. So it lies in
a folder of its own, from timesfm.txt. ``tests/families/test_timesfm25.py`` compares our answers with these numbers.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from dataclasses import fields
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
# Without this folder, which python puts first: this file has the package's name.
sys.path[:] = [str(HERE.parent), *(path for path in sys.path if Path(path) != HERE)]

from checkpoints import timesfm as maker  # noqa: E402  (the line above adds its path)

LEVELS = [i / 10 for i in range(1, 10)]
# points, points that do not move at the beginning, points missing at the beginning and in the middle, horizon
CASES = [
    (2, 0, 0, 3),
    (10, 0, 0, 10),
    (33, 0, 0, 48),
    (100, 0, 7, 48),
    (256, 0, 40, 48),  # a whole patch is missing
    (512, 0, 0, 48),
    (512, 70, 0, 48),  # the first two patches have no deviation
    (700, 0, 0, 300),  # three passes
    (5000, 0, 3, 1024),  # all that the quantile head reaches
    (300, 0, 0, 1030),  # beyond it
    (16256, 0, 0, 16),  # the longest context
]
TOGETHER = [1, 3, 7, 5]  # these cases in one batch, with the horizon of the last one


def series(points: int, still: int, missing: int, _: int = 0) -> np.ndarray:
    """A series of unit spread, (points,) float32, NaN where missing."""
    noise = np.random.default_rng(points).normal(size=points)
    values = np.sin(np.arange(points) / 7) + 2 * np.arange(points) / points + 0.3 * noise
    values = (values - values.mean()) / values.std()
    values[:still] = values[still]
    values[:missing] = np.nan
    values[points // 2 : points // 2 + missing] = np.nan
    return values.astype(np.float32)


def digest(folder: Path) -> str:
    """SHA-256 of the checkpoint's weights: the answers are of these alone."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def main() -> None:
    from timesfm import ForecastConfig
    from timesfm.timesfm_2p5.timesfm_2p5_base import TimesFM_2p5_200M_Definition

    from tsfm import official
    from tsfm.series import Runtime, Series

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        maker.make(folder, "tiny25")
        package = official.load("timesfm", folder, Runtime(threads=1))

        def answers(cases: list[tuple[int, int, int, int]]) -> list[np.ndarray]:
            made = package.forecast([Series(series(*case)) for case in cases], cases[-1][-1], LEVELS)
            return [one.quantiles.astype(np.float32) for one in made]

        made = {f"case{at}": answers([case])[0] for at, case in enumerate(CASES)}
        made |= {f"together{at}": one for at, one in enumerate(answers([CASES[at] for at in TOGETHER]))}
        keys = [field.name for cls in (ForecastConfig, TimesFM_2p5_200M_Definition) for field in fields(cls)]
        np.savez_compressed(HERE / "timesfm.npz", weights=np.array(digest(folder)), keys=np.array(keys), **made)
    print(f"timesfm.npz: {(HERE / 'timesfm.npz').stat().st_size} bytes")


if __name__ == "__main__":
    main()
