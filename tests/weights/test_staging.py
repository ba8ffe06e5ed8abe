"""What a power cut may find: everything of a checkpoint is on the disk before the checkpoint has its name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tsfm.weights import manifest
from weights.conftest import COMMAND, MODEL, Box
from weights.hub import Hub

pytestmark = pytest.mark.slow

# The command with a record of what it has the kernel put on the disk and name, in order.
RECORDED = f"""
import os, sys
record = open(sys.argv.pop(1), "a", buffering=1)
fsync, rename = os.fsync, os.rename
def noted_fsync(descriptor):
    fsync(descriptor)
    print("fsync", os.readlink(f"/proc/self/fd/{{descriptor}}"), file=record)
def noted_rename(source, target, *, src_dir_fd, dst_dir_fd):
    rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
    print("rename", os.readlink(f"/proc/self/fd/{{dst_dir_fd}}") + "/" + target, file=record)
os.fsync, os.rename = noted_fsync, noted_rename
{COMMAND}
"""


def recorded(box: Box, *words: str | Path) -> list[str]:
    """Lines "fsync PATH" and "rename NEW PATH" of one command."""
    record = box.folder / "record"
    done = subprocess.run(
        [sys.executable, "-c", RECORDED, record, *words], env=box.env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return record.read_text().splitlines()


@pytest.mark.parametrize("way", ["pull", "import"])
def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(box: Box, hub: Hub, tmp_path: Path, way: str) -> None:
    words: tuple[str | Path, ...] = ("pull", "chronos")
    if way == "import":
        assert box.tsfm("pull", "chronos", "--to", tmp_path / "stick").returncode == 0
        words = ("import", tmp_path / "stick")
    lines = recorded(box, *words)
    partial = box.root / ".partial-chronos-bolt-tiny"
    named = lines.index(f"rename {box.weights}")
    files = [partial / name for name in ("config.json", "model.safetensors", manifest.NAME)]
    assert {f"fsync {path}" for path in (*files, partial)} <= set(lines[:named])
    assert lines[:named].index(f"fsync {partial}") > max(lines[:named].index(f"fsync {path}") for path in files)
    assert f"fsync {box.root}" in lines[named:]
    assert hub.models[MODEL]["config.json"] == (box.weights / "config.json").read_bytes()


def test_what_replaces_a_checkpoint_is_on_the_disk_before_the_old_one_is_deleted(box: Box) -> None:
    assert box.tsfm("pull", "chronos").returncode == 0
    (box.weights / "model.safetensors").write_bytes(b"broken")
    lines = recorded(box, "pull", "chronos")
    old, named = (lines.index(f"rename {box.root / name}") for name in (".old-chronos-bolt-tiny", "chronos-bolt-tiny"))
    partial = box.root / ".partial-chronos-bolt-tiny"
    assert lines.index(f"fsync {partial}") < old < named
    assert f"fsync {box.root}" in lines[named:]
    assert not (box.root / ".old-chronos-bolt-tiny").exists()


def test_files_laid_flat_are_on_the_disk_before_each_has_its_name(box: Box, tmp_path: Path) -> None:
    (tmp_path / "taos.pth").write_bytes(b"weights")
    root = tmp_path / "model" / "tdtsfm"
    lines = recorded(box, "import", tmp_path / "taos.pth", "--folder", root)
    named = [lines.index(f"rename {root / name}") for name in ("taos.pth", manifest.NAME)]
    assert named == sorted(named)  # the manifest comes last
    (synced,) = (line for line in lines if line.startswith("fsync ") and line.endswith("/taos.pth"))
    partial = Path(synced.removeprefix("fsync ")).parent
    assert partial != root
    for path in (partial / "taos.pth", partial / manifest.NAME, partial):
        assert lines.index(f"fsync {path}") < named[0]
    assert f"fsync {root}" in lines[named[1] :]
