"""Weights by USB stick: what one machine exports, another checks and takes in."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from weights.conftest import MODEL, Box, model
from weights.hub import Hub

pytestmark = pytest.mark.slow

WEIGHTS = "model.safetensors"


@pytest.fixture
def factory(make_box: Callable[[str], Box]) -> Box:
    """The machine without a network."""
    box = make_box("factory")
    box.env["HF_ENDPOINT"] = "http://127.0.0.1:9"
    return box


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the connected machine has exported; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("connected")
    hub = Hub()
    hub.models[MODEL] = model()
    box = Box(folder, hub.url)
    done = box.tsfm("pull", "chronos", "--to", folder / "stick")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"on the other machine: tsfm import {folder}/stick\n")
    assert not box.root.exists()
    yield folder / "stick"
    hub.close()


@pytest.fixture
def stick(exported: Path, tmp_path: Path) -> Path:
    return shutil.copytree(exported, tmp_path / "stick")


def same(box: Box, hub: Hub) -> bool:
    names = ("config.json", WEIGHTS)
    return {n: (box.weights / n).read_bytes() for n in names} == {n: hub.models[MODEL][n] for n in names}


def test_a_folder_carried_over_is_complete_there(factory: Box, stick: Path, hub: Hub) -> None:
    done = factory.tsfm("import", stick)
    assert (done.returncode, done.stdout) == (0, f"{MODEL}: 3.0 MB checked and complete in {factory.weights}\n")
    assert same(factory, hub)
    assert factory.tsfm("verify", "chronos").returncode == 0


def test_a_tar_carried_over_is_complete_there(box: Box, factory: Box, hub: Hub, tmp_path: Path) -> None:
    packed = tmp_path / "chronos.tar"
    assert box.tsfm("pull", "chronos", "--to", packed).returncode == 0
    assert [p.name for p in tmp_path.glob("*chronos.tar*")] == ["chronos.tar"]
    assert factory.tsfm("import", packed).returncode == 0
    assert same(factory, hub)


def test_the_same_weights_make_the_same_tar(box: Box, tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        assert box.tsfm("pull", "chronos", "--to", tmp_path / name).returncode == 0
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_tar_that_was_packed_by_hand_and_compressed_will_do(factory: Box, stick: Path, hub: Hub) -> None:
    packed = shutil.make_archive(str(stick), "gztar", stick)
    assert factory.tsfm("import", packed).returncode == 0
    assert same(factory, hub)


def test_several_checkpoints_travel_together(box: Box, factory: Box, stick: Path, hub: Hub) -> None:
    hub.models["amazon/chronos-bolt-mini"] = model(1_000_000, seed=1)
    assert box.tsfm("pull", "chronos", "1", "--to", stick).returncode == 0
    assert factory.tsfm("import", stick).returncode == 0
    assert {p.name for p in factory.root.iterdir()} == {"chronos-bolt-tiny", "chronos-bolt-mini"}


@pytest.mark.parametrize("harm", ["flip", "cut", "lose"])
def test_what_was_damaged_on_the_way_is_refused_and_nothing_is_left(factory: Box, stick: Path, harm: str) -> None:
    path = stick / "chronos-bolt-tiny" / WEIGHTS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    {"flip": lambda: path.write_bytes(content), "cut": lambda: os.truncate(path, 99), "lose": path.unlink}[harm]()
    done = factory.tsfm("import", stick)
    assert done.returncode in (1, 78)
    assert WEIGHTS in done.stderr.splitlines()[-1]
    left = [p.name for p in factory.root.iterdir()] if factory.root.exists() else []
    assert left == []


def test_a_cut_off_tar_is_refused(box: Box, factory: Box, tmp_path: Path) -> None:
    packed = tmp_path / "chronos.tar"
    box.tsfm("pull", "chronos", "--to", packed)
    os.truncate(packed, packed.stat().st_size // 2)
    done = factory.tsfm("import", packed)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert not factory.weights.exists()


def test_a_tar_cannot_write_outside(factory: Box, tmp_path: Path) -> None:
    packed = tmp_path / "evil.tar"
    manifest = {"format": 1, "family": "chronos", "checkpoint": MODEL, "revision": "", "files": []}
    with tarfile.open(packed, "w") as tar:
        for name, content in (("x/tsfm-manifest.json", json.dumps(manifest).encode()), ("x/../../evil", b"!")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    done = factory.tsfm("import", packed)
    assert done.returncode == 78
    assert "config.json" in done.stderr
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("name", ["../config.json", "/etc/passwd", "..", ""])
def test_a_list_of_hashes_speaks_of_files_in_its_folder_only(factory: Box, stick: Path, name: str) -> None:
    path = stick / "chronos-bolt-tiny" / "tsfm-manifest.json"
    path.write_text(path.read_text().replace('"config.json"', json.dumps(name)))
    done = factory.tsfm("import", stick)
    assert done.returncode == 78
    assert f"{name!r} is no name of a file in the folder" in done.stderr


def test_a_list_of_hashes_that_is_none_is_refused_in_words(factory: Box, stick: Path) -> None:
    (stick / "chronos-bolt-tiny" / "tsfm-manifest.json").write_text('{"format": 2}')
    done = factory.tsfm("import", stick)
    assert done.returncode == 78
    assert "expected a manifest" in done.stderr


def test_the_bare_file_of_tdgpt_is_laid_where_tdgpt_looks_for_it_and_its_hash_recorded(
    factory: Box, tmp_path: Path
) -> None:
    (tmp_path / "taos.pth").write_bytes(b"weights")
    root = tmp_path / "model" / "tdtsfm"
    for _ in range(2):
        done = factory.tsfm("import", tmp_path / "taos.pth", "--folder", root)
        assert done.returncode == 0, done.stderr
        assert sorted(path.name for path in root.iterdir()) == ["taos.pth", "tsfm-manifest.json"]
    assert (root / "taos.pth").read_bytes() == b"weights"
    assert factory.tsfm("verify", "tdtsfm", "--folder", root).returncode == 0
    (root / "taos.pth").write_bytes(b"Weights")
    assert factory.tsfm("verify", "tdtsfm", "--folder", root).returncode == 1


def test_bare_files_that_may_be_several_things_need_a_name(factory: Box, tmp_path: Path, hub: Hub) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name, content in hub.models[MODEL].items():
        (bare / name).write_bytes(content)
    done = factory.tsfm("import", bare)
    assert done.returncode == 78
    assert "tsfm import PATH FAMILY CHECKPOINT" in done.stderr
    assert factory.tsfm("import", bare, "chronos", "chronos-bolt-tiny").returncode == 0
    assert same(factory, hub)


def test_bare_files_that_are_cut_off_are_refused(factory: Box, tmp_path: Path, hub: Hub) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_text("{}")
    (bare / WEIGHTS).write_bytes(hub.models[MODEL][WEIGHTS][:-10])
    done = factory.tsfm("import", bare, "chronos", "0")
    assert done.returncode == 1
    assert "cut off" in done.stderr


def test_weights_of_another_family_than_expected_are_refused(factory: Box, stick: Path) -> None:
    done = factory.tsfm("import", stick, "fracast")
    assert done.returncode == 78
    assert f"expected weights of fracast, found {MODEL}" in done.stderr


def test_a_path_that_is_not_there_is_a_wrong_command_line(factory: Box) -> None:
    done = factory.tsfm("import", "/nonexistent/stick")
    assert done.returncode == 2


def test_what_does_not_fit_is_refused_before_it_is_copied(factory: Box, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_text("{}")
    (bare / WEIGHTS).touch()
    os.truncate(bare / WEIGHTS, 1 << 43)  # holes: it takes no room here, but would there
    done = factory.tsfm("import", bare, "chronos", "0")
    assert done.returncode == 1
    assert "not enough disk: 8796093.0 MB are needed" in done.stderr
    assert not factory.weights.exists()
