"""Writes what the stand-in reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from safetensors import NAMES


def save_file(tensors: Mapping[str, torch.Tensor], path: Path | str, metadata: Mapping[str, str] | None = None) -> None:
    """Write a file of the format, as the package does."""
    header: dict[str, object] = {"__metadata__": dict(metadata or {})}
    parts, at = [], 0
    for name, tensor in tensors.items():
        content = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, at + len(content)],
        }
        parts.append(content)
        at += len(content)
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    Path(path).write_bytes(len(head).to_bytes(8, "little") + head + b"".join(parts))
