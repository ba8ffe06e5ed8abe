"""Recognise folders that hold no usable checkpoint: caches, adapters, other formats, LFS pointers; with a remedy.

The kind of a checkpoint follows from its config.json; the cards list the keys that identify each kind.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from tsfm import card as cards
from tsfm.card import Card, Checkpoint
from tsfm.errors import TsfmError
from tsfm.weights import reading
from tsfm.weights.shards import INDEX, SINGLE

CONFIG, ADAPTER = "config.json", "adapter_config.json"
ANY = "*"
POINTER = b"version https://git-lfs.github.com/spec/"
WEIGHTS = (SINGLE, INDEX, "torch_model.ckpt", "taos.pth")
_FOREIGN = {
    ".bin": "pickled weights of torch",
    ".bin.index.json": "pickled weights of torch in shards",
    ".gguf": "weights for llama.cpp",
    ".onnx": "a network for ONNX",
    ".h5": "weights of TensorFlow",
    ".msgpack": "weights of Flax",
    ".zip": "a packed folder",
}
_SAVE_ANEW = 'load it with the package that wrote it and save it again: model.save_pretrained("DIR")'


@dataclass(frozen=True)
class Finding:
    """What was found, for example "holds an adapter", and what to do about it.

    Attributes:
        incomplete: a part of a checkpoint whose other files may still arrive.
    """

    what: str
    remedy: str
    incomplete: bool = False


def content(path: Path) -> Finding | None:
    """What the folder holds instead of a checkpoint's files; None: nothing recognised.

    Raises:
        TsfmError: it cannot be read.
    """
    if not reading.may_exist(path):
        return None
    found = names(path)
    return _cache(path, found) or _dangling(path, found) or files(found, path)


def names(path: Path) -> list[str]:
    """What is in the folder.

    Raises:
        TsfmError: it cannot be read.
    """
    try:
        return sorted(os.listdir(path))
    except OSError as error:
        raise reading.refused(path, error, "a folder of weights") from None


def files(found: Collection[str], path: Path | None = None) -> Finding | None:
    """The same from the file names alone; ``path``: their folder, if they are on disk."""
    if ADAPTER in found:
        return Finding(
            f"holds an adapter (LoRA){_base(path)}, not whole weights",
            "merge it into its base first: peft's merge_and_unload(), then save_pretrained()",
        )
    if not set(found) & set(WEIGHTS):
        for name in sorted(found):
            for ending, what in _FOREIGN.items():
                if name.endswith(ending) and (ending != ".bin" or "model" in name):
                    remedy = "unpack it and give the folder" if ending == ".zip" else _SAVE_ANEW
                    return Finding(f"holds {name}, {what}, which is not read", remedy)
        if CONFIG in found:
            return Finding(f"holds a {CONFIG} and no weights", f"put its {SINGLE} beside it, or move it away", True)
    elif CONFIG not in found and (SINGLE in found or INDEX in found):
        return Finding(f"holds weights and no {CONFIG}", f"put the {CONFIG} that was saved with them beside them", True)
    return None


def pointer(name: str, size: int, read: Callable[[], bytes]) -> Finding | None:
    """A Git LFS pointer file in place of the weights; ``read`` returns its content."""
    if size < 1024 and read().startswith(POINTER):
        return Finding(
            f"has {name} that is a Git LFS pointer, not the file itself",
            "get the files: git lfs pull, in the checkout",
        )
    return None


def fits(config: Mapping[str, object], marks: Mapping[str, object]) -> bool:
    """Whether a configuration has all of these keys with these values; a dotted key is a key of a nested object."""
    return bool(marks) and all(_has(config, key, value) for key, value in marks.items())


def kinds(config: Mapping[str, object]) -> list[tuple[Card, Checkpoint]]:
    """The checkpoints of all families whose kind the configuration describes."""
    known = [cards.read(name) for name in cards.names(packaged_only=True)]
    return [(card, each) for card in known for each in card.checkpoints if fits(config, each.marks)]


def model_name(config: Mapping[str, object]) -> str:
    """The model name in the configuration, for messages; empty: none."""
    if found := [f"{key} {config[key]}" for key in ("architectures", "model_type") if config.get(key)]:
        return found[0]
    return ""


def other_kind(content: bytes, checkpoint: Checkpoint) -> tuple[Card, Checkpoint] | None:
    """The kind that a config.json describes, if it differs from the checkpoint's kind."""
    try:
        config = json.loads(content)
    except (ValueError, RecursionError):
        return None  # the loader reports what is wrong with it
    if not checkpoint.marks or not isinstance(config, dict) or fits(config, checkpoint.marks):
        return None
    return next(iter(kinds(config)), None)


def _has(config: Mapping[str, object], key: str, value: object) -> bool:
    found: object = config
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return False
        found = found[part]
    return value == ANY or found == value


def _cache(path: Path, found: Collection[str]) -> Finding | None:
    if "snapshots" in found and os.path.isdir(path / "snapshots"):
        snapshots = [f"{path}/snapshots/{commit}" for commit in names(path / "snapshots")]
        model = path.name.removeprefix("models--").replace("--", "/")
        what = f"is the cache of {model} that huggingface_hub keeps"
        return Finding(
            what, f"give the folder of a snapshot: {' or '.join(snapshots) or 'it has none: download it again'}"
        )
    if models := [name for name in found if name.startswith("models--")]:
        what = "is a cache of huggingface_hub with several models"
        return Finding(what, f"give the folder of one snapshot: {path}/{models[0]}/snapshots/COMMIT")
    return None


def _dangling(path: Path, found: Collection[str]) -> Finding | None:
    for name in found:
        if os.path.islink(path / name) and not reading.may_exist(path / name):
            return Finding(
                f"has {name} that is a link to {os.readlink(path / name)}, which does not exist",
                "copy the folder again, with the files that its links lead to: cp -rL",
            )
    return None


def deeper(path: Path) -> Finding | None:
    """Whether a subfolder holds the weights that this folder lacks."""
    for name in names(path):
        below = path / name
        if not name.startswith(".") and os.path.isdir(below) and os.access(below, os.R_OK | os.X_OK):
            inside = set(names(below))
            if inside & {*WEIGHTS, ADAPTER} and not inside & {"tsfm-manifest.json"}:
                return Finding("holds no weights itself", f"give the folder with the weights: {below}")
    return None


def _base(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        base = json.loads(reading.content(path / ADAPTER, "an adapter")).get("base_model_name_or_path")
    except (TsfmError, ValueError, AttributeError):
        return ""  # the base model only adds detail to the sentence
    return f" of {base}" if base else ""
