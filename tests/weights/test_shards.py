"""Weights in several safetensors files load like one, in every family that reads safetensors."""

import importlib
import shutil

import numpy as np
import pytest
from checkpoints import chronos, official, shards
from safetensors.torch import load_file, save_file

from tsfm import families
from tsfm.errors import ConfigError
from tsfm.series import Series

pytestmark = pytest.mark.slow


def answer(family, folder):
    model = families.load(family, folder, official.FLOAT32)
    series = Series(official.wave(96, 10 if family == "moment" else 0))
    return model.impute([series])[0] if family == "moment" else model.forecast([series], 20, [0.1, 0.9])[0].quantiles


@pytest.mark.parametrize("family", ["chronos", "timemoe", "moirai", "moment", "fracast"])
def test_shards_answer_as_the_whole_file(family, tmp_path):
    if family == "fracast":
        shutil.copytree(official.Fracast().folder(), tmp_path, dirs_exist_ok=True)
    else:
        importlib.import_module(f"checkpoints.{family}").make(tmp_path)
    whole = answer(family, tmp_path)
    shards.cut(tmp_path)
    np.testing.assert_array_equal(answer(family, tmp_path), whole)


@pytest.fixture
def folder(tmp_path):
    chronos.make(tmp_path)
    shards.cut(tmp_path)
    return tmp_path


FIRST, SECOND = (f"model-0000{at}-of-00003.safetensors" for at in (1, 2))


def lose(folder):
    (folder / SECOND).unlink()


def repeat(folder):
    name, tensor = next(iter(load_file(folder / FIRST).items()))
    save_file(load_file(folder / SECOND) | {name: tensor}, folder / SECOND)


def take_out(folder):
    tensors = load_file(folder / SECOND)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, folder / SECOND)


def cut_off(folder):
    (folder / SECOND).write_bytes((folder / SECOND).read_bytes()[:-9])


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lose, f"{SECOND}: expected whole weights as safetensors, found no such file"),
        (
            repeat,
            rf"{SECOND}: expected the tensors that .*index\.json names, found .*, which the index does",
        ),
        (take_out, rf"{SECOND}: expected the tensors that .*index\.json names, found no "),
        (cut_off, f"{SECOND}: expected whole weights as safetensors, found a file that is not"),
        (lambda f: shards.index(f, {}), "found one that names no tensor"),
        (lambda f: shards.index(f, {"w": "../elsewhere.safetensors"}), r"found '\.\./elsewhere\.safetensors'"),
        (lambda f: shards.index(f, {"w": 3}), "tensor w: expected a safetensors file's name, found 3"),
        (lambda f: shards.index(f, {"w": FIRST}), "which the index does not place there"),
        (lambda f: (f / "model.safetensors.index.json").write_text("[1]"), "expected an index of weights"),
        (
            lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "x", "a": "y"}}'),
            "found a twice",
        ),
    ],
)
def test_shards_that_are_not_what_the_index_says_are_refused(folder, harm, words):
    harm(folder)
    with pytest.raises(ConfigError, match=words):
        families.load("chronos", folder, official.FLOAT32)


def test_a_whole_file_is_read_before_shards(folder):
    chronos.make(folder)
    lose(folder)
    assert families.load("chronos", folder, official.FLOAT32).max_context == 512
