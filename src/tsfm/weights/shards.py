"""Weights in several safetensors files, as transformers saves large models; an index maps tensors to files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from tsfm.errors import ConfigError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def parse(content: bytes, source: str) -> dict[str, frozenset[str]]:
    """The files in an index, each with the names of its tensors.

    Args:
        source: names the index in errors.

    Raises:
        ConfigError: not an index, a tensor listed twice, or a file outside the folder.
    """
    expected = f"{source}: expected an index of weights"
    try:
        index = json.loads(content, object_pairs_hook=_without_repeats)
        tensors = index["weight_map"].items()
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{expected} with a weight_map, found {' '.join(str(error).split())}") from None
    files: dict[str, set[str]] = {}
    for tensor, file in tensors:
        if not isinstance(file, str) or not re.fullmatch(r"[\w-][\w.-]*\.safetensors", file):
            raise ConfigError(f"{expected}: tensor {tensor}: expected a safetensors file's name, found {file!r}")
        files.setdefault(file, set()).add(tensor)
    if not files:
        raise ConfigError(f"{expected}, found one that names no tensor")
    return {file: frozenset(files[file]) for file in sorted(files)}


def as_stored(
    names: tuple[str, ...], has: Callable[[str], bool], read: Callable[[str], bytes], label: str
) -> tuple[str, ...]:
    """The files of a checkpoint as stored: for sharded weights, the index and the shards in place of the single file.

    Args:
        names: the card's files.
        has: whether a file of that name exists.
        read: returns its content.
        label: the folder, for errors.

    Raises:
        ConfigError: the index is not valid.
    """
    if SINGLE not in names or has(SINGLE) or not has(INDEX):
        return names
    shards = parse(read(INDEX), f"{label}/{INDEX}")
    return (*(name for name in names if name != SINGLE), INDEX, *shards)


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        repeated = next(key for at, (key, _) in enumerate(pairs) if key in [k for k, _ in pairs[:at]])
        raise ValueError(f"{repeated} twice")
    return found
