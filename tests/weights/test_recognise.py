"""What is no checkpoint as it lies is named, with a next step that fits, by import, serve, list and verify."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checkpoints import chronos, moirai, moment, shards, tdtsfm, timemoe, timesfm

from tsfm.cli import main
from weights.conftest import SRC, Box
from weights.hub import Hub

pytestmark = pytest.mark.slow

NOBODY = 65534
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command, with the families' folders in tmp_path/model; its exit code and all that it says."""
    ini = tmp_path / "tsfm.ini"
    families = ("chronos", "timemoe", "moirai", "moment", "timesfm", "tdtsfm")
    ini.write_text("".join(f"[{name}]\nmodel_folder = {tmp_path}/model/{name}\n" for name in families))
    monkeypatch.setenv("TSFM_INI", str(ini))

    def command(*words: str | Path) -> tuple[int, str]:
        if words[0] == "serve":  # not in this process: it takes signals
            serve = [sys.executable, "-m", "tsfm", *words, "--port", "1"]
            done = subprocess.run(serve, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": SRC})
            return done.returncode, done.stdout + done.stderr
        code = main.main([str(word) for word in words])
        told = capsys.readouterr()
        return code, told.out + told.err

    return command


# What is there instead of a checkpoint


def cache(folder: Path) -> None:
    chronos.make(folder / "models--amazon--chronos-bolt-tiny" / "snapshots" / "c0ffee")


def repository(folder: Path) -> None:
    chronos.make(folder / "snapshots" / "c0ffee")
    (folder / "blobs").mkdir()
    (folder / "refs").mkdir()


def dangling(folder: Path) -> None:
    chronos.make(folder)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("../../blobs/abc")


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "amazon/chronos-2", "peft_type": "LORA"}')
    (folder / "adapter_model.safetensors").write_bytes(b"x")


def pickled(folder: Path) -> None:
    chronos.make(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def pickled_shards(folder: Path) -> None:
    pickled(folder)
    (folder / "pytorch_model.bin").rename(folder / "pytorch_model-00001-of-00002.bin")
    (folder / "pytorch_model.bin.index.json").write_text("{}")


def pointer(folder: Path) -> None:
    chronos.make(folder)
    said = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 34\n"
    (folder / "model.safetensors").write_text(said)


def bare(folder: Path) -> None:
    chronos.make(folder)
    (folder / "config.json").unlink()


def empty(folder: Path) -> None:
    chronos.make(folder)
    (folder / "model.safetensors").unlink()


def lost_shard(folder: Path) -> None:
    chronos.make(folder)
    shards.cut(folder)
    (folder / "model-00002-of-00003.safetensors").unlink()


def onnx(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"x")


CASES = {
    cache: ("cache of huggingface_hub", "snapshots/COMMIT"),
    repository: ("cache of", "snapshots/c0ffee"),
    dangling: ("link to ../../blobs/abc, which does not exist", "cp -rL"),
    adapter: ("adapter (LoRA) of amazon/chronos-2", "merge_and_unload"),
    pickled: ("pytorch_model.bin", "save_pretrained"),
    pickled_shards: ("pytorch_model", "save_pretrained"),
    pointer: ("Git LFS pointer", "git lfs pull"),
    bare: ("holds weights and no config.json", "put the config.json"),
    empty: ("holds a config.json and no weights", "put its model.safetensors beside it"),
    lost_shard: (
        "lacks model-00002-of-00003.safetensors",
        "copy the missing files from where the other files come from",
    ),
    onnx: ("model.onnx", "save_pretrained"),
}
EACH = pytest.mark.parametrize("lay", CASES, ids=lambda lay: lay.__name__)


def assert_named(told: str, lay: Callable[[Path], None], words: tuple[str, ...]) -> None:
    for word in words:
        assert word in told
    for wrong in ("tsfm pull", "tsfm remove", "say which it is", "Traceback"):
        assert wrong not in told


@EACH
@pytest.mark.parametrize("named", [(), ("chronos",), ("chronos", "chronos-bolt-tiny"), ("chronos", "--name", "a")])
def test_import_names_it(run: Run, tmp_path: Path, lay: Callable[[Path], None], named: tuple[str, ...]) -> None:
    (tmp_path / "it").mkdir()
    lay(tmp_path / "it")
    code, told = run("import", tmp_path / "it", *named)
    assert code in (1, 78)
    words = CASES[lay] if lay is not lost_shard else ("model-00002-of-00003.safetensors",)
    assert_named(told, lay, words)
    assert not list((tmp_path / "model").rglob("*.safetensors"))


@EACH
@pytest.mark.parametrize("place", ["chronos", "chronos/chronos-bolt-tiny"])
def test_serve_list_and_verify_name_it(run: Run, tmp_path: Path, lay: Callable[[Path], None], place: str) -> None:
    folder = tmp_path / "model" / place
    folder.mkdir(parents=True)
    lay(folder)
    code, told = run("serve", "chronos")
    assert code == (75 if lay in (bare, empty, lost_shard) else 78)  # what lacks may still be on its way
    assert_named(told, lay, CASES[lay])
    if place != "chronos":
        code, told = run("list")
        assert code == 0
        assert_named(told, lay, CASES[lay])
        code, told = run("verify", "chronos")
        assert code == 1
        assert_named(told, lay, CASES[lay])


@pytest.mark.parametrize("lay", [adapter, pickled, pointer, dangling], ids=lambda lay: lay.__name__)
def test_pull_replaces_nothing_of_somebody_elses(box: Box, hub: Hub, lay: Callable[[Path], None]) -> None:
    box.weights.mkdir(parents=True)
    lay(box.weights)
    before = sorted(path.name for path in box.weights.iterdir())
    done = box.tsfm("pull", "chronos")
    assert done.returncode == 78
    assert f"move {box.weights} away" in done.stderr
    assert sorted(path.name for path in box.weights.iterdir()) == before


def test_a_zip_file_is_named(run: Run, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "weights.zip", "w") as packed:
        packed.writestr("config.json", "{}")
    code, told = run("import", tmp_path / "weights.zip", "chronos", "--name", "a")
    assert code == 2
    assert "zip file" in told
    assert f"unzip {tmp_path}/weights.zip" in told


def test_a_checkpoint_that_lies_deeper_is_pointed_at(run: Run, tmp_path: Path) -> None:
    chronos.make(tmp_path / "it" / "finetuned-ckpt")
    code, told = run("import", tmp_path / "it", "chronos", "--name", "a")
    assert (code, f"{tmp_path}/it/finetuned-ckpt" in told) == (78, True)
    chronos.make(tmp_path / "model" / "chronos" / "amazon" / "chronos-bolt-tiny")
    for words in (["list"], ["verify", "chronos"], ["serve", "chronos"]):
        assert f"{tmp_path}/model/chronos/amazon/chronos-bolt-tiny" in run(*words)[1]


def test_a_folder_without_a_name_is_told_how_to_get_one(run: Run, tmp_path: Path) -> None:
    chronos.make(tmp_path / "model" / "chronos" / "my-model")
    way = f"tsfm import {tmp_path}/model/chronos/my-model chronos --name my-model"
    for words in (["list"], ["verify", "chronos"], ["serve", "chronos"]):
        told = run(*words)[1]
        assert way in told
        assert "tsfm pull" not in told
    assert run("import", *way.split()[2:])[0] == 0
    assert run("verify", "chronos")[0] == 0
    assert "my-model" in run("list")[1]


# config.json decides what a folder is


@pytest.mark.parametrize(
    ("maker", "size", "words", "right"),
    [
        (moment, "tiny", ("chronos", "chronos-bolt-tiny"), "moment --name NAME"),
        (chronos, "tiny2", ("chronos", "chronos-bolt-tiny"), "chronos --name NAME"),
        (chronos, "tiny", ("chronos", "chronos-2"), "chronos --name NAME"),
        (timemoe, "tiny", ("moirai",), "timemoe --name NAME"),
        (timemoe, "tiny", ("moirai", "--name", "a"), "timemoe --name NAME"),
        (moirai, "tiny", ("moirai", "moirai-2.0-R-small"), "moirai --name NAME"),
        (moirai, "tiny2", ("moirai", "0"), "moirai --name NAME"),
        (chronos, "tiny", (), "chronos --name NAME"),
    ],
)
def test_a_model_under_a_wrong_name_is_refused_with_the_right_one(
    run: Run, tmp_path: Path, maker: object, size: str, words: tuple[str, ...], right: str
) -> None:
    maker.make(tmp_path / "it", size)
    code, told = run("import", tmp_path / "it", *words)
    assert code == 78
    assert f"tsfm import {tmp_path}/it {right}" in told


def test_an_official_size_is_told_without_a_name_and_named_when_it_was_given_as_another(
    run: Run, tmp_path: Path
) -> None:
    chronos.make(tmp_path / "it", "bolt-tiny")
    code, told = run("import", tmp_path / "it", "chronos", "chronos-bolt-mini")
    assert (code, f"tsfm import {tmp_path}/it chronos chronos-bolt-tiny" in told) == (78, True)
    code, told = run("import", tmp_path / "it")
    assert (code, told.startswith("amazon/chronos-bolt-tiny: ")) == (0, True)


def test_a_model_that_nobody_serves_is_refused_by_what_it_says(run: Run, tmp_path: Path) -> None:
    bare = tmp_path / "it"
    chronos.make(bare)
    (bare / "config.json").write_text('{"model_type": "bert"}')
    for words in (["chronos", "chronos-bolt-tiny"], ["chronos"], ["chronos", "--name", "a"], ["--name", "a"]):
        code, told = run("import", bare, *words)
        assert (code, "model_type bert" in told) == (78, True)


@pytest.mark.parametrize(
    ("content", "words"), [("[1]", "expected a JSON object"), ("{", "as JSON"), ("{}", "names no model")]
)
def test_a_configuration_that_says_nothing_gets_no_name(run: Run, tmp_path: Path, content: str, words: str) -> None:
    chronos.make(tmp_path / "it")
    (tmp_path / "it" / "config.json").write_text(content)
    code, told = run("import", tmp_path / "it", "chronos", "--name", "a")
    assert code == 78
    assert words in told
    assert not (tmp_path / "model").exists()


def test_serving_does_not_take_another_kind_for_the_named_one(run: Run, tmp_path: Path) -> None:
    chronos.make(tmp_path / "model" / "chronos" / "chronos-bolt-tiny", "tiny2")
    code, told = run("serve", "chronos")
    assert code == 78
    assert "amazon/chronos-2's kind" in told
    assert f"tsfm import {tmp_path}/model/chronos/chronos-bolt-tiny chronos --name NAME" in told
    assert "tsfm pull" not in told


# What cannot be read is not damaged


@pytest.fixture
def host() -> Iterator[Box]:
    """A host whose folders every user reaches."""
    folder = Path(tempfile.mkdtemp(prefix="tsfm-"))
    folder.chmod(0o755)
    (folder / "model").mkdir()
    yield Box(folder, "http://127.0.0.1:9")
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder)


def other_user() -> dict[str, object]:
    """Root may read everything: what it is not let through to must be tried by another user."""
    return {"user": NOBODY} if os.geteuid() == 0 else {}


DENIED = {
    "weights": ("chronos-bolt-tiny/model.safetensors", 0o200),
    "configuration": ("chronos-bolt-tiny/config.json", 0o200),
    "hashes": ("chronos-bolt-tiny/tsfm-manifest.json", 0o200),
    "folder": ("chronos-bolt-tiny", 0o700 if os.geteuid() == 0 else 0),
    "unlisted folder": ("chronos-bolt-tiny", 0o711 if os.geteuid() == 0 else 0o111),
    "family": (".", 0o700 if os.geteuid() == 0 else 0),
    "above": ("..", 0o700 if os.geteuid() == 0 else 0),
}


@pytest.mark.parametrize("which", DENIED)
def test_what_this_user_may_not_read_is_told_as_that(host: Box, which: str) -> None:
    chronos.make(host.folder / "stick", "tiny")
    config = json.loads((host.folder / "stick" / "config.json").read_text())
    done = host.tsfm("import", host.folder / "stick", "chronos", "--name", "mine")
    assert done.returncode == 0, done.stderr
    shutil.copytree(host.root / "mine", host.weights)
    listed = json.loads((host.weights / "tsfm-manifest.json").read_text())
    (host.weights / "tsfm-manifest.json").write_text(json.dumps(listed | {"checkpoint": "amazon/chronos-bolt-tiny"}))
    shutil.rmtree(host.root / "mine")
    assert config["d_model"] == 16
    name, mode = DENIED[which]
    barrier = (host.root / name).resolve()
    barrier.chmod(mode)
    answers = [
        host.tsfm("serve", "chronos", "--port", "1", **other_user()),
        host.tsfm("verify", "chronos", **other_user()),
        host.tsfm("import", host.weights, "chronos", "--name", "a", "--folder", "/tmp/nowhere-tsfm", **other_user()),
        host.tsfm("list", **other_user()),
    ]
    for done in answers[: 4 if which != "unlisted folder" else 2]:
        assert done.returncode == {"list": 0, "serve": 78}.get(done.args[0], 1), done.stderr
        told = done.stdout + done.stderr
        for words in ("Permission denied", "chmod a+r", str(barrier), "nobody" if os.geteuid() == 0 else "cannot be"):
            assert words in told
        for words in ("damage", "cut off", "tsfm pull", "tsfm remove", "Traceback", "FAMILY CHECKPOINT"):
            assert words not in told.replace("tsfm-pull", "")


@pytest.mark.parametrize("family", ["chronos", "timesfm", "tdtsfm"])
def test_a_disk_that_fails_is_told_as_that(run: Run, tmp_path: Path, family: str) -> None:
    maker = {"chronos": chronos, "timesfm": timesfm, "tdtsfm": tdtsfm}[family]
    root = tmp_path / "model" / family
    maker.make(root)
    (weights,) = [path for path in root.iterdir() if path.name != "config.json"]
    weights.unlink()
    weights.symlink_to("/proc/self/mem")  # its first byte is an I/O error
    for words in (["serve", family], ["verify", family], ["list"]):
        code, told = run(*words)
        assert code == {"serve": 1, "verify": 1, "list": 0}[words[0]]
        assert "Input/output error" in told
        assert "the file may be intact" in told
        for wrong in ("damage", "tsfm pull", "tsfm remove"):
            assert wrong not in told
    code, told = run("import", root, family, "--name", "a")
    assert code == 1
    assert "Input/output error" in told
