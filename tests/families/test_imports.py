"""No family pulls in more than it serves with: what the reference packages import costs seconds and memory."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

from tsfm import card

REFERENCES = {"chronos", "fracast", "momentfm", "sktime", "timesfm", "uni2ts"}
THEIRS = {"gluonts", "huggingface_hub", "hydra", "lightning", "requests", "transformers", "utilsforecast"}
HEAVY = {"matplotlib", "pandas", "scipy"}
PROGRAM = """
import sys
from pathlib import Path
from tsfm import families
from tsfm.series import Runtime
family, folder, *unwanted = sys.argv[1:]
families.load(family, Path(folder) if folder else None, Runtime())
print(sorted({*unwanted} & {*sys.modules}))
"""


@pytest.mark.parametrize("family", card.names(packaged_only=True))
def test_loading_a_family_imports_no_reference_and_nothing_heavy(family, tmp_path):
    if with_weights := card.read(family).checkpoints:
        importlib.import_module(f"checkpoints.{family}").make(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, family, str(tmp_path) if with_weights else "", *REFERENCES, *THEIRS, *HEAVY],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(card.FOLDER.parents[1])},
    )
    assert done.stdout.strip() == "[]", done.stderr
