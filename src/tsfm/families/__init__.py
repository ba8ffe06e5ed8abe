"""One file per model family; the file's name is the family's name everywhere.

``families/timemoe.py`` gives ``tsfm serve timemoe``, the unit ``tsfm@timemoe``, the package
``taos-tsfm-timemoe`` and its own environment. There is no other list: every file in this
folder can be served.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tsfm import card, official, paths
from tsfm.errors import ConfigError, TryLater, TsfmError
from tsfm.nets import threads

if TYPE_CHECKING:  # commands that only look up a family need no numpy
    from tsfm.series import Model, Runtime


def find(name: str) -> card.Card:
    """The card of the family ``name``.

    Raises:
        ConfigError: no such family; the message lists the known ones.
    """
    # The name may come from a unit's instance: it must not lead out of the folder.
    if not re.fullmatch(r"[a-z][a-z0-9]*", name) or name not in card.names():
        raise ConfigError(f"family: expected one of {', '.join(card.names(packaged_only=True))}, got {name!r}")
    return card.read(name)


def load(name: str, folder: Path | None, runtime: Runtime, engine: str = "native") -> Model:
    """Load the checkpoint in ``folder`` (None: the weights in its package).

    Args:
        engine: "native", the network in the family's module, or "official", its maker's package.

    Raises:
        ConfigError: the family's packages are not installed, the folder does not hold its checkpoint, or the family
            has no such arithmetic; the message says what was expected and what was found.
        TryLater: the family's packages are being unpacked.
    """
    if runtime.dtype == "int8" and engine == "native" and not find(name).int8:
        able = ", ".join(other for other in card.names() if card.read(other).int8)
        raise ConfigError(
            f"family {name}: dtype: int8 is for {able}, whose large products take most of the time; expected auto, "
            "float32 or bfloat16"
        )
    find(name)
    try:
        # Some model packages print during import or load; stdout is reserved for the command's own output.
        with contextlib.redirect_stdout(sys.stderr):
            threads.use(runtime.threads)  # of this thread: weights are laid out anew while they are loaded
            if engine == "official":
                return official.load(name, folder, runtime)
            model: Model = importlib.import_module(f"tsfm.families.{name}").load(folder, runtime)
    except ImportError as error:
        raise lacking(name, engine, error) from error
    return model


def lacking(name: str, engine: str, error: ImportError) -> TsfmError:
    """The error to raise when a Python package that the family needs cannot be imported.

    If the family's environment exists, it is incomplete: packages are being unpacked, or the installation is broken.
    """
    package = paths.package(name, engine)
    if paths.is_there(name, engine):
        return TryLater(
            f"family {name}: its environment is incomplete ({error}): its packages are being installed; "
            f"if nothing installs them, reinstall taos-tsfm-runtime and {package}"
        )
    if not isinstance(error, ModuleNotFoundError):
        raise error
    return ConfigError(f"family {name}: the Python package {error.name} is not installed; install {package}")
