"""The makers' own packages behind the protocol of ``tsfm.series``: one file per model family.

``official/chronos.py`` runs ``families/chronos.py``'s checkpoints through chronos-forecasting. ``engine = official``
serves them; `tsfm compare`, the parity tests and the benchmark compare our networks with them. Each imports its package
inside ``load`` only, so importing ``tsfm.official`` needs none of them. An adapter does what the package does and
nothing more: its docstring names what the package lacks.

``PIN`` in an adapter is its package. ``ENVIRONMENT`` is a literal that says what else its environment needs: the
package ``taos-tsfm-FAMILY-official`` brings it.
"""

from __future__ import annotations

import ast
import functools
import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tsfm import paths
from tsfm.errors import ConfigError

if TYPE_CHECKING:  # listing the names needs no numpy
    from tsfm.series import Model, Runtime

FOLDER = Path(__file__).parent
LIMIT_S = 60
NEWER = "3.12"


@dataclass(frozen=True)
class Environment:
    """What the environment of an adapter holds beyond the runtime; most fields are those of a ``Card``.

    Attributes:
        ahead: pins of packages that run on our Python, but whose metadata asks for a newer one, at most ``NEWER``.
    """

    ahead: tuple[str, ...]
    requirements: tuple[str, ...]
    overrides: tuple[str, ...]
    dropped: tuple[str, ...]


def names() -> list[str]:
    """The families that have an adapter here, without importing any of them."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def check(name: str) -> None:
    """Refuse a family whose maker publishes no package.

    Raises:
        ConfigError
    """
    if name not in names():
        raise ConfigError(f"engine: official serves {', '.join(names())}; {name} has no package of its maker's here")


def environment(name: str) -> Environment:
    """What the adapter ``name`` needs, read from its file without importing it."""
    found = {
        ast.unparse(node.targets[0]): ast.literal_eval(node.value)
        for node in ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("PIN", "ENVIRONMENT")
    }
    more: dict[str, list[str]] = found["ENVIRONMENT"]
    ahead = tuple(more.get("ahead", ()))
    requirements = tuple(one for one in (found["PIN"], *more.get("requirements", ())) if one not in ahead)
    return Environment(ahead, requirements, tuple(more.get("overrides", ())), tuple(more.get("dropped", ())))


def load(name: str, folder: Path | None, runtime: Runtime) -> Model:
    """Load the checkpoint in ``folder`` with the package of its maker (None: the weights in the package).

    Raises:
        ConfigError: no such adapter, the package is not installed, or it does not load the folder.
    """
    check(name)
    model: Model = importlib.import_module(f"tsfm.official.{name}").load(folder, runtime)
    return _one_call_at_a_time(model)


def _one_call_at_a_time(model: Model) -> Model:
    """Several threads call a model at once, and no maker promises that its package can be called so."""
    turn = threading.RLock()  # one method may call another

    def one_at_a_time(call: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(call)
        def wait_for_turn(*args: object, **options: object) -> object:
            with turn:
                return call(*args, **options)

        return wait_for_turn

    for name in ("forecast", "forecast_joint", "impute"):
        if hasattr(model, name):
            setattr(model, name, one_at_a_time(getattr(model, name)))
    return model


def way_out(family: str, folder: Path) -> str:
    """Whether the maker's package takes a folder that our network refuses, as the end of that sentence; it is tried.

    Empty: the maker publishes no package.
    """
    if family not in names():
        return ""
    python, package = paths.venv_python(family, "official"), paths.package(family, "official")
    if python is None and Path(__file__).is_relative_to(paths.LIB):
        return f"engine = official may serve it: install {package}"
    command = [str(python or sys.executable), "-B", "-m", "tsfm.official._trial", family, str(folder)]
    ours = {"PYTHONPATH": str(paths.LIB) if python else os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
    try:
        done = subprocess.run(command, env=os.environ | ours, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"engine = official may serve it: its maker's package was still loading it after {LIMIT_S} s"
    if done.returncode == 0:
        return f"engine = official can serve it: set engine = official in [{family}] of tsfm.ini"
    return f"its maker's package does not take it either: {_last_line(done.stderr)}"


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it ended without a word"])[-1]
