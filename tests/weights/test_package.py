"""Weights as deb and rpm, made from what was carried or from bare files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from weights.conftest import MODEL, model

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def build(folder: Path, out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "packaging/model_package.py", "chronos", str(folder), *words]
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"OUT": str(out)}, capture_output=True, text=True)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    folder = tmp_path / "bare"
    folder.mkdir()
    for name, content in model(100_000).items():
        (folder / name).write_bytes(content)
    return folder


def test_the_same_weights_make_the_same_packages(bare: Path, tmp_path: Path) -> None:
    made = []
    for out in (tmp_path / "first", tmp_path / "second"):
        done = build(bare, out, MODEL)
        assert done.returncode == 0, done.stderr
        made.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert made[0] == made[1]
    rpm, deb = sorted(made[0])
    assert deb.startswith("taos-tsfm-weights-chronos-bolt-tiny_1.0+")
    assert deb.endswith("-1_all.deb")
    assert rpm.endswith("-1.noarch.rpm")


def test_files_that_are_not_whole_are_not_packed(bare: Path, tmp_path: Path) -> None:
    os.truncate(bare / "model.safetensors", 1000)
    done = build(bare, tmp_path / "out", MODEL)
    assert done.returncode == 1
    assert "cut off" in done.stderr
    assert not (tmp_path / "out").exists()
