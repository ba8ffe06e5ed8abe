"""Packages are the same bytes wherever they are built."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from host.conftest import ROOT

sys.path.insert(0, str(ROOT / "packaging"))

import interpreter

BUILT = ["taos-tsfm-core", "taos-tsfm-fracast", "taos-tsfm", "taos-tsfm-doc"]


def build(source: Path, kind: str, cache: Path) -> dict[str, str]:
    """Hashes of packages built in another folder, with the environment built anew too, by the same interpreter."""
    (cache / "taos-tsfm").mkdir(parents=True)
    (cache / "taos-tsfm" / "python").symlink_to(interpreter.tree().parent)
    command = [sys.executable, str(source / "packaging" / "build.py"), kind, "--only", *BUILT]
    environment = os.environ | {"OUT": str(source / "out"), "XDG_CACHE_HOME": str(cache), "VERSION": "1.0.0"}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (source / "out").glob(f"*.{kind}")}


@pytest.mark.parametrize("kind", ["deb", "rpm"])
def test_two_builds_in_two_folders_are_the_same_bytes(tmp_path: Path, kind: str) -> None:
    first, second = tmp_path / "here", tmp_path / "somewhere-else"
    for part in ("src", "packaging", "etc", "man", "docs"):
        shutil.copytree(ROOT / part, first / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("README.md", "CHANGELOG.md", "pyproject.toml", "mkdocs.yml"):
        shutil.copy(ROOT / file, first)
    shutil.copytree(first, second)
    builds = [build(folder, kind, tmp_path / f"cache-{folder.name}") for folder in (first, second)]
    assert len(builds[0]) == len(BUILT)
    assert builds[0] == builds[1]
