"""The makers' own packages behind the protocol of ``tsfm.series``: one file per model family.

``official/chronos.py`` runs ``families/chronos.py``'s checkpoints through chronos-forecasting. The parity tests and the
benchmark compare our networks with these adapters. Each imports its package inside ``load`` only, so importing
``tsfm.official`` needs none of them. An adapter does what the package does and nothing more: its docstring names what
the package lacks.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from tsfm.errors import ConfigError

if TYPE_CHECKING:  # listing the names needs no numpy
    from tsfm.series import Model, Runtime

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The families that have an adapter here, without importing any of them."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def load(name: str, folder: Path | None, runtime: Runtime) -> Model:
    """Load the checkpoint in ``folder`` with the package of its maker (None: the weights in the package).

    Raises:
        ConfigError: no such adapter, the package is not installed, or it does not load the folder.
    """
    if name not in names():
        raise ConfigError(f"official: expected one of {', '.join(names())}, got {name!r}")
    model: Model = importlib.import_module(f"tsfm.official.{name}").load(folder, runtime)
    return model
