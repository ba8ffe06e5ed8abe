"""TDgpt's tree, as a generation has it."""

from __future__ import annotations

import shutil
from pathlib import Path

TREE = Path(__file__).parent / "tree"


def install(target: Path, newest: bool) -> None:
    """Copy the tree.

    Args:
        newest: detectors derive from a class in another module, and a user's own ones have a folder.
    """
    shutil.copytree(TREE, target, dirs_exist_ok=True)
    code = target / "lib/taosanalytics"
    if newest:
        (code / "service.py").unlink()
        (code / "algo/custom/ad").mkdir(parents=True, exist_ok=True)
    else:
        (code / "base.py").unlink()
