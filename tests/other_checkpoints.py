"""Folders that hold something else than a family's checkpoint, and the sentence for each."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tsfm import families
from tsfm.errors import ConfigError
from tsfm.series import Runtime

WRONG = ("shape", "more", "folder", "none")


def check(wrong: str, family: str, good: Path, folder: Path, tensor: str) -> None:
    """Change a good checkpoint in the way that is asked for, and see that it is refused.

    Args:
        tensor: the name of one of its tensors, with two dimensions.
    """
    (folder / "config.json").write_text((good / "config.json").read_text())
    tensors = load_file(good / "model.safetensors")
    shape = ", ".join(map(str, tensors[tensor].shape))
    more = {tensor: torch.zeros(3, 48)} if wrong == "shape" else {"lm_head": torch.zeros(2)}
    save_file(tensors | more, folder / "model.safetensors")
    if wrong == "folder":
        (folder / "config.json").unlink()
    expected = {
        "shape": rf"{tensor} of shape \({shape}\), found it with shape \(3, 48\)",
        "more": "expected no more tensors, found 1 unknown ones, first lm_head",
        "folder": r"config\.json: expected .* found no such file",
        "none": f"{family}: expected a folder with a checkpoint, got none",
    }[wrong]
    with pytest.raises(ConfigError, match=expected):
        families.load(family, None if wrong == "none" else folder, Runtime(dtype="float32", threads=1))
