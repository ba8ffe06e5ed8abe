"""No family pulls in more than it serves with: what the reference packages import costs seconds and memory."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tsfm import card

pytestmark = pytest.mark.slow

FAMILIES = card.names(packaged_only=True)
REFERENCES = {"chronos", "fracast", "momentfm", "sktime", "timesfm", "tirex2", "toto2", "tsfm_public", "uni2ts"}
THEIRS = {"gluonts", "huggingface_hub", "hydra", "lightning", "requests", "transformers", "utilsforecast"}
HEAVY = {"matplotlib", "pandas", "scipy"}
PROGRAM = """
import json, os, sys, torch
from pathlib import Path
from tsfm import families
from tsfm.series import Runtime
folders, unwanted = json.loads(sys.argv[1]), {*sys.argv[2:]}
for family, folder in folders.items():
    if not os.fork():
        families.load(family, Path(folder) if folder else None, Runtime())
        print(json.dumps([family, sorted(unwanted & {*sys.modules})]), flush=True)
        os._exit(0)
    _, status = os.wait()
    if status:
        sys.exit(f"{family} could not be loaded")
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What is unwanted and was imported by each family; each is loaded in a fork of one process that has torch."""
    folders = {}
    for family in FAMILIES:
        folders[family] = ""
        if card.read(family).checkpoints:
            folders[family] = str(tmp_path_factory.mktemp(family))
            importlib.import_module(f"checkpoints.{family}").make(Path(folders[family]))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(folders), *REFERENCES, *THEIRS, *HEAVY],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(card.FOLDER.parents[1])},
    )
    assert done.returncode == 0, done.stderr
    return dict(map(json.loads, done.stdout.splitlines()))


@pytest.mark.parametrize("family", FAMILIES)
def test_loading_a_family_imports_no_reference_and_nothing_heavy(family: str, imported: dict[str, list[str]]) -> None:
    assert imported[family] == []
