"""A fine-tuned checkpoint has a name of its own: imported, listed, served, carried on, verified, removed under it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import chronos, shards, timemoe, timesfm
from conftest import Live

from tsfm import card as cards
from tsfm.errors import ConfigError
from tsfm.weights import checkpoints
from weights.conftest import Box

pytestmark = pytest.mark.slow

CARD = cards.read("chronos")


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    """Somebody's own model, as the official package saves it."""
    chronos.make(tmp_path / "tuned")
    return tmp_path / "tuned"


def test_it_lives_under_its_name(box: Box, tuned: Path, serve: Callable[..., Live]) -> None:
    done = box.tsfm("import", tuned, "chronos", "--name", "plant-a")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("plant-a: ")
    assert done.stdout.endswith(f"checked and complete in {box.root}/plant-a\n")
    rows = box.tsfm("list").stdout
    (row,) = [line for line in rows.splitlines() if "plant-a" in line]
    assert "complete" in row
    assert row.split()[-4:] == ["forecast", "regression", "each", "forecasts"]
    listed = json.loads(box.tsfm("list", "--json").stdout)
    (entry,) = [e for family in listed if family["name"] == "chronos" for e in family["checkpoints"] if e["own"]]
    assert (entry["name"], entry["status"]) == ("plant-a", "complete")
    assert "native_quantiles" in entry["capabilities"]
    for option in ("--checkpoint", "--model-name"):
        live = serve("chronos", "--model-folder", str(box.root), option, "plant-a", forked=True).until_ready()
        assert live.get("/v1/models").json["models"][0]["checkpoint"] == "plant-a"
        live.stop()
    box.settings("checkpoint = plant-a")
    assert "weights are complete in" in box.tsfm("pull", "chronos").stdout
    good = box.tsfm("verify", "chronos", "plant-a")
    assert (good.returncode, good.stdout.startswith("plant-a: ")) == (0, True)
    assert box.tsfm("remove", "chronos", "plant-a").returncode == 0
    assert not (box.root / "plant-a").exists()
    gone = box.tsfm("serve", "chronos", "--port", "1")
    assert gone.returncode == 78
    assert "to add one of your own, run: tsfm import DIR chronos --name plant-a" in gone.stderr
    assert "tsfm pull" not in gone.stderr


def test_the_family_is_told_from_the_configuration(box: Box, tuned: Path) -> None:
    assert box.tsfm("import", tuned, "--name", "plant-a").returncode == 0
    assert (box.root / "plant-a").is_dir()


def test_a_family_without_configurations_is_named(box: Box, tmp_path: Path) -> None:
    timesfm.make(tmp_path / "it")
    root = tmp_path / "model" / "timesfm"
    done = box.tsfm("import", tmp_path / "it", "timesfm", "--name", "plant", "--folder", root)
    assert (done.returncode, (root / "plant" / "torch_model.ckpt").exists()) == (0, True), done.stderr


def test_timesfm_2_5_is_told_from_its_configuration_and_2_0_is_still_taken_with_one(
    box: Box, tmp_path: Path, serve: Callable[..., Live]
) -> None:
    root = tmp_path / "model" / "timesfm"
    timesfm.make(tmp_path / "old")
    (tmp_path / "old/config.json").write_text(
        '{"architectures": ["TimesFmModelForPrediction"], "model_type": "timesfm"}'
    )
    timesfm.make(tmp_path / "new", "tiny25")
    done = box.tsfm("import", tmp_path / "old", "timesfm", "--name", "plant-a", "--folder", root)
    assert (done.returncode, (root / "plant-a" / "torch_model.ckpt").exists()) == (0, True), done.stderr
    done = box.tsfm("import", tmp_path / "new", "--name", "plant-b", "--folder", root)
    assert (done.returncode, (root / "plant-b" / "model.safetensors").exists()) == (0, True), done.stderr
    live = serve("timesfm", "--model-folder", str(root), "--checkpoint", "plant-b", forked=True).until_ready()
    assert live.get("/v1/models").json["models"][0]["max_context"] == 16256
    parameters = {"prediction_length": 1024, "quantile_levels": [0.1, 0.9]}
    target = [1.0, 2.0, None, 4.0] * 50 + [None] * 6
    answer = live.post("/v1/forecast", {"inputs": [{"target": target}], "parameters": parameters})
    assert answer.status == 200, answer.body
    (made,) = answer.json["predictions"]
    assert len(made["0.1"]) == 1024
    assert all(low <= high for low, high in zip(made["0.1"], made["0.9"], strict=True))


def test_the_official_ones_are_served_before_it_and_it_before_nothing(tuned: Path, tmp_path: Path, box: Box) -> None:
    box.tsfm("import", tuned, "chronos", "--name", "plant-a")
    assert checkpoints.find(CARD, str(box.root), None) == box.root / "plant-a"
    shutil.copytree(tuned, box.root / "chronos-2")
    chronos.make(box.root / "chronos-2", "tiny2")
    assert checkpoints.find(CARD, str(box.root), None) == box.root / "chronos-2"
    assert checkpoints.find(CARD, str(box.root), "plant-a") == box.root / "plant-a"


def test_what_damages_it_is_told_without_the_hub(box: Box, tuned: Path) -> None:
    box.tsfm("import", tuned, "chronos", "--name", "plant-a")
    with (box.root / "plant-a" / "model.safetensors").open("r+b") as file:
        file.seek(-3, 2)
        file.write(b"rot")
    bad = box.tsfm("verify", "chronos")
    assert bad.returncode == 1
    assert "tsfm import DIR chronos --name plant-a" in bad.stderr
    for wrong in ("tsfm pull", "tsfm remove"):
        assert wrong not in bad.stderr
    assert box.tsfm("import", tuned, "chronos", "--name", "plant-a").returncode == 0
    assert box.tsfm("verify", "chronos").returncode == 0


def test_it_is_not_removed_with_the_others(box: Box, tuned: Path) -> None:
    box.tsfm("import", tuned, "chronos", "--name", "plant-a")
    shutil.copytree(tuned, box.weights)
    refused = box.tsfm("remove", "chronos")
    assert (refused.returncode, "plant-a cannot be downloaded again" in refused.stderr) == (78, True)
    assert box.weights.exists()
    assert box.tsfm("remove", "chronos", "0").returncode == 0
    assert (box.root / "plant-a").exists()


def test_shards_are_imported_checked_served_and_removed(box: Box, tuned: Path, serve: Callable[..., Live]) -> None:
    shards.cut(tuned)
    done = box.tsfm("import", tuned, "chronos", "--name", "plant-a")
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (box.root / "plant-a").iterdir()}
    assert names == {path.name for path in tuned.iterdir()} | {"tsfm-manifest.json"}
    serve("chronos", "--model-folder", str(box.root), "--checkpoint", "plant-a", forked=True).until_ready()
    path = box.root / "plant-a" / "model-00002-of-00003.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    bad = box.tsfm("verify", "chronos")
    assert (bad.returncode, "model-00002-of-00003.safetensors" in bad.stderr) == (1, True)
    assert box.tsfm("remove", "chronos", "plant-a").returncode == 0
    assert not (box.root / "plant-a").exists()


def test_flat_shards_are_removed_and_other_files_are_not(box: Box, tuned: Path) -> None:
    shards.cut(tuned)
    shutil.copytree(tuned, box.root)
    (box.root / "theirs.txt").write_text("TDgpt's")
    assert checkpoints.find(CARD, str(box.root), None) == box.root
    assert box.tsfm("remove", "chronos").returncode == 0
    assert [path.name for path in box.root.iterdir()] == ["theirs.txt"]


def test_it_is_carried_to_another_host_with_its_name(
    box: Box, make_box: Callable[[str], Box], tuned: Path, tmp_path: Path
) -> None:
    shards.cut(tuned)
    box.tsfm("import", tuned, "chronos", "--name", "plant-a")
    packed = shutil.make_archive(str(tmp_path / "carried"), "tar", box.root, "plant-a")
    other = make_box("other")
    done = other.tsfm("import", packed)
    assert (done.returncode, done.stdout.startswith("plant-a: ")) == (0, True), done.stderr
    assert other.tsfm("verify", "chronos", "plant-a").returncode == 0
    assert other.tsfm("import", box.root / "plant-a", "--name", "plant-b").returncode == 0
    assert sorted(path.name for path in other.root.iterdir()) == ["plant-a", "plant-b"]


@pytest.mark.parametrize(
    "name",
    [
        *("", "-a", ".hidden", "a/b", "..", "a b", "7", "x" * 65, "é", "a\n"),
        *("chronos-bolt-tiny", "Chronos-2", "amazon/chronos-2", "taos.pth", "TimeMoE-50M"),
    ],
)
def test_a_name_that_cannot_be_is_refused_in_words(box: Box, tuned: Path, name: str) -> None:
    done = box.tsfm("import", tuned, "chronos", f"--name={name}")
    assert done.returncode == 2
    assert "--name: expected" in done.stderr
    assert repr(name) in done.stderr
    assert not box.root.exists()


def test_a_name_and_a_checkpoint_are_not_given_together(box: Box, tuned: Path) -> None:
    done = box.tsfm("import", tuned, "chronos", "chronos-2", "--name", "a")
    assert (done.returncode, "not both" in done.stderr) == (2, True)


def test_a_folder_of_somebody_elses_is_not_replaced(box: Box, tuned: Path) -> None:
    (box.root / "plant-a").mkdir(parents=True)
    (box.root / "plant-a" / "thesis.txt").write_text("years of work")
    done = box.tsfm("import", tuned, "chronos", "--name", "plant-a")
    assert done.returncode == 78
    assert f"{box.root}/plant-a already exists and holds no checkpoint of that name" in done.stderr
    assert (box.root / "plant-a" / "thesis.txt").read_text() == "years of work"


def test_a_checkpoint_of_another_family_is_not_listed(box: Box, tmp_path: Path) -> None:
    timemoe.make(tmp_path / "it")
    root = tmp_path / "model" / "timemoe"
    assert box.tsfm("import", tmp_path / "it", "--name", "plant", "--folder", root).returncode == 0
    shutil.copytree(root / "plant", box.root / "plant")
    with pytest.raises(ConfigError, match="got 'plant'"):
        checkpoints.find(CARD, str(box.root), "plant")
