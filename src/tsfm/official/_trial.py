"""``python -m tsfm.official._trial FAMILY FOLDER``: does the maker's package load a checkpoint, and answer once?

The process fails, with the reason as the last line of its stderr, if it does not.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

import numpy as np

from tsfm import official
from tsfm.errors import TsfmError
from tsfm.series import Family, Imputer, Model, Runtime, Series

POINTS = 128


def main(family: str, folder: str) -> str | None:
    """The reason why the package does not serve the folder; None: it does."""
    try:
        answer = _answer(official.load(family, Path(folder), Runtime(dtype="float32")))
    except TsfmError as error:
        return str(error)
    return None if np.isfinite(answer).all() else "its answer holds values that are not numbers"


def _answer(model: Model) -> np.ndarray:
    wave = np.sin(np.arange(POINTS) / 5).astype(np.float32)
    if not model.capabilities.imputation:
        return cast(Family, model).forecast([Series(wave)], 8, [])[0].median
    wave[POINTS // 2] = np.nan
    return cast(Imputer, model).impute([Series(wave)])[0]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
