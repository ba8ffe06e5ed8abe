"""Which weights are there: side by side, laid flat by TDgpt, broken off, damaged, removed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tsfm import card as cards
from tsfm.card import Card, Checkpoint
from tsfm.errors import ConfigError, TsfmError
from tsfm.weights import checkpoints
from weights.conftest import MODEL, Box, model, safetensors
from weights.hub import Hub

FILES = ("config.json", "model.safetensors")
SMALL = Checkpoint("owner/small", 1000, 100_000, FILES, ())
LARGE = Checkpoint("owner/large", 9000, 900_000, FILES, ())
OWN = Checkpoint("owner/brought", 1, 10, ("taos.pth",), (), pullable=False)


def family(*checkpoints: Checkpoint) -> Card:
    return Card("made", "", "", "yes", 2026, "", ("made",), "forecast", ("/ds_predict",), 6099, 60, checkpoints)


CARD = family(SMALL, LARGE)


def lay(folder: Path, size: int = 5000) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(safetensors(size))
    return folder


def test_without_a_name_the_first_that_is_there_is_loaded(tmp_path: Path) -> None:
    large = lay(tmp_path / "large")
    assert checkpoints.resolve(CARD, str(tmp_path), None) == large
    small = lay(tmp_path / "small")
    assert checkpoints.resolve(CARD, str(tmp_path), None) == small
    assert checkpoints.resolve(CARD, str(tmp_path), "1") == large


def test_files_laid_flat_are_taken_as_they_are(tmp_path: Path) -> None:
    lay(tmp_path)
    assert checkpoints.resolve(CARD, str(tmp_path), None) == tmp_path
    assert checkpoints.resolve(CARD, str(tmp_path), "owner/large") == tmp_path  # of a size that tells nothing


def test_flat_files_of_another_checkpoints_size_are_not_the_asked_ones(tmp_path: Path) -> None:
    lay(tmp_path, 900_000)
    assert checkpoints.resolve(CARD, str(tmp_path), "large") == tmp_path
    assert checkpoints.resolve(CARD, str(tmp_path), None) == tmp_path
    with pytest.raises(ConfigError, match="holds another checkpoint of the family; run: tsfm pull made owner/small"):
        checkpoints.resolve(CARD, str(tmp_path), "small")


def test_flat_files_with_a_manifest_are_what_it_says(tmp_path: Path) -> None:
    lay(tmp_path)
    sizes = [{"name": n, "size": (tmp_path / n).stat().st_size, "sha256": ""} for n in FILES]
    facts = {"format": 1, "family": "made", "checkpoint": "owner/large", "revision": "", "files": sizes}
    (tmp_path / "tsfm-manifest.json").write_text(json.dumps(facts))
    assert checkpoints.find(CARD, str(tmp_path), "small") is None
    assert checkpoints.find(CARD, str(tmp_path), "large") == tmp_path


def test_nothing_there_names_the_files_and_the_command(tmp_path: Path) -> None:
    expected = r"lacks config.json, model.safetensors; run: tsfm pull made owner/small --folder"
    with pytest.raises(ConfigError, match=expected):
        checkpoints.resolve(CARD, str(tmp_path), None)


def test_weights_that_are_not_on_the_hub_say_where_they_come_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"taos.pth comes with TDgpt .* tsfm import FILE"):
        checkpoints.resolve(family(OWN), str(tmp_path), None)


def test_an_unknown_checkpoint_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"0: owner/small, 1: owner/large\), got '7'"):
        checkpoints.find(CARD, str(tmp_path), "7")


def test_a_cut_off_file_is_damage(tmp_path: Path) -> None:
    folder = lay(tmp_path / "small")
    os.truncate(folder / "model.safetensors", 4000)
    state = checkpoints.state(CARD, tmp_path)[0]
    assert (state.status, state.folder) == ("damaged", folder)
    assert "cut off" in state.detail
    assert checkpoints.find(CARD, str(tmp_path), None) is None


@pytest.mark.parametrize(
    "header", [b"", b"\xff" * 8, (3).to_bytes(8, "little") + b"[1]", (2).to_bytes(8, "little") + b"{"]
)
def test_a_file_that_is_no_safetensors_is_damage(tmp_path: Path, header: bytes) -> None:
    folder = lay(tmp_path / "small")
    (folder / "model.safetensors").write_bytes(header)
    assert checkpoints.state(CARD, tmp_path)[0].status == "damaged"


def test_the_state_of_each_checkpoint_has_its_size(tmp_path: Path) -> None:
    lay(tmp_path / "large")
    (tmp_path / ".partial-small").mkdir()
    (tmp_path / ".partial-small" / "beginning").write_bytes(bytes(25_000))
    small, large = checkpoints.state(CARD, tmp_path)
    assert (small.status, small.folder, small.bytes, small.detail) == ("partial", None, 25_000, "25 % downloaded")
    assert (large.status, large.folder) == ("complete", tmp_path / "large")
    assert large.bytes == sum((tmp_path / "large" / name).stat().st_size for name in FILES)


def test_flat_files_count_for_one_checkpoint_only(tmp_path: Path) -> None:
    lay(tmp_path)
    assert [state.status for state in checkpoints.state(CARD, tmp_path)] == ["complete", "missing"]


def test_the_real_cards_sizes_tell_their_checkpoints_apart() -> None:
    for name in cards.names():
        sizes = sorted(checkpoint.bytes for checkpoint in cards.read(name).checkpoints)
        for less, more in pairwise(sizes):
            assert more > less * (1 + 2 * checkpoints.SAME_SIZE), name


def test_the_pins_of_the_real_cards_are_commits_and_hashes_of_their_files() -> None:
    pinned = 0
    for checkpoint in (one for name in cards.names(packaged_only=True) for one in cards.read(name).checkpoints):
        assert re.fullmatch("|[0-9a-f]{40}", checkpoint.revision), checkpoint
        assert set(checkpoint.sha256) <= set(checkpoint.files if checkpoint.revision else ()), checkpoint
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in checkpoint.sha256.values()), checkpoint
        pinned += bool(checkpoint.revision)
    assert pinned >= 12


def test_a_failure_note_that_is_a_pipe_holds_the_service_up_for_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".failed-small")
    with pytest.raises(TsfmError, match=r"lacks config\.json"):
        checkpoints.resolve(CARD, str(tmp_path), None)


def test_verify_reads_every_byte_and_remove_frees_the_disk(box: Box) -> None:
    box.tsfm("pull", "chronos")
    good = box.tsfm("verify", "chronos")
    assert (good.returncode, good.stdout) == (0, f"{MODEL}: 3.0 MB verified in {box.weights}\n")
    with (box.weights / "model.safetensors").open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"rot")
    bad = box.tsfm("verify", "chronos")
    assert bad.returncode == 1
    assert "model.safetensors: expected SHA-256" in bad.stderr
    assert f"tsfm remove chronos {MODEL}" in bad.stderr
    removed = box.tsfm("remove", "chronos")
    assert (removed.returncode, removed.stdout) == (0, f"{MODEL}: 3.0 MB freed in {box.root}\n")
    assert not box.weights.exists()
    assert box.tsfm("remove", "chronos").returncode == 78
    assert box.tsfm("verify", "chronos").returncode == 78


def test_a_file_of_the_wrong_size_is_brought_again(box: Box, hub: Hub) -> None:
    box.tsfm("pull", "chronos")
    os.truncate(box.weights / "model.safetensors", 1000)
    assert box.tsfm("pull", "chronos").returncode == 0
    assert (box.weights / "model.safetensors").read_bytes() == hub.models[MODEL]["model.safetensors"]


def test_remove_takes_only_the_named_checkpoint(box: Box, hub: Hub) -> None:
    hub.models["amazon/chronos-bolt-mini"] = model(seed=1)
    box.tsfm("pull", "chronos", "0")
    box.tsfm("pull", "chronos", "1")
    assert box.tsfm("remove", "chronos", "chronos-bolt-mini").returncode == 0
    assert [p.name for p in box.root.iterdir() if p.is_dir()] == ["chronos-bolt-tiny"]


def test_remove_leaves_other_files_of_a_flat_folder_alone(box: Box) -> None:
    lay(box.root)
    (box.root / "theirs.txt").write_text("TDgpt's")
    assert box.tsfm("remove", "chronos").returncode == 0
    assert sorted(p.name for p in box.root.iterdir()) == ["theirs.txt"]


def test_flat_files_without_hashes_are_verified_as_far_as_that_goes(box: Box) -> None:
    lay(box.root)
    done = box.tsfm("verify", "chronos")
    assert done.returncode == 0
    assert "without recorded hashes" in done.stdout


def test_what_cannot_be_downloaded_again_is_removed_only_by_name(box: Box, tmp_path: Path) -> None:
    root = tmp_path / "tdtsfm"
    root.mkdir()
    (root / "taos.pth").write_bytes(b"weights")
    refused = box.tsfm("remove", "tdtsfm", "--folder", root)
    assert refused.returncode == 78
    assert (root / "taos.pth").exists()
    assert box.tsfm("remove", "tdtsfm", "0", "--folder", root).returncode == 0
    assert not (root / "taos.pth").exists()


def test_list_and_verify_need_no_package_at_all() -> None:
    names = ", ".join(f"tsfm.cli.commands.{name}" for name in ("verify", "remove", "import_", "pull"))
    source = str(Path(checkpoints.__file__).parents[2])
    program = f"import sys; sys.path.insert(0, {source!r}); import tsfm.weights.checkpoints, {names}"
    subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True)
