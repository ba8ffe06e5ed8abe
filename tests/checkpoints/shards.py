"""Split a checkpoint's safetensors into shards, as transformers saves large models."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file, save_file


def cut(folder: Path, count: int = 3) -> dict[str, str]:
    """Replace the folder's model.safetensors by shards and an index; return the shard of each tensor."""
    tensors = load_file(folder / "model.safetensors")
    placed = {name: f"model-{at % count + 1:05}-of-{count:05}.safetensors" for at, name in enumerate(sorted(tensors))}
    for file in set(placed.values()):
        save_file({name: tensors[name] for name in placed if placed[name] == file}, folder / file)
    (folder / "model.safetensors").unlink()
    index(folder, placed)
    return placed


def index(folder: Path, placed: dict[str, str]) -> None:
    content = {"metadata": {"total_size": 1}, "weight_map": placed}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))
