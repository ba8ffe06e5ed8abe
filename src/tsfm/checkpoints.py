"""Which weights to load: from names, indexes and folders to one checked folder."""

from __future__ import annotations

import json
from pathlib import Path

from tsfm.card import Card, Checkpoint
from tsfm.errors import ConfigError
from tsfm.settings import MODEL_ROOT


def named(card: Card, name: str) -> Checkpoint:
    """The card's checkpoint by index ("2"), full name, or the name without its owner.

    Raises:
        ConfigError: none such; the message lists them.
    """
    for index, checkpoint in enumerate(card.checkpoints):
        if name in (str(index), checkpoint.name, checkpoint.folder):
            return checkpoint
    known = ", ".join(f"{i}: {c.name}" for i, c in enumerate(card.checkpoints))
    raise ConfigError(f"checkpoint: {card.name} has {known or 'none to choose from'}; got {name!r}")


def resolve(card: Card, model_folder: str | None, name: str | None) -> Path | None:
    """The folder to load, or None for a family whose weights come with its package.

    Weights lie either directly in the family's folder (as TDgpt lays them) or in a folder of
    their own below it, so that several can lie side by side.

    Raises:
        ConfigError: nothing complete there; the message says what was looked for and what to run.
    """
    root = Path(model_folder) if model_folder else MODEL_ROOT / card.name
    if not card.checkpoints:
        return root if model_folder else None
    wanted = [named(card, name)] if name else list(card.checkpoints)
    for checkpoint in wanted:
        for folder in (root / checkpoint.folder, root):
            if not missing(folder, checkpoint):
                return folder
    first = wanted[0]
    lacks = f"{root} lacks {', '.join(missing(root, first))}"
    remedy = f"run: tsfm pull {card.name} {first.name}" if first.pullable else f"copy {first.files[-1]} there"
    raise ConfigError(f"weights of {first.name}: {lacks}; {remedy}")


def missing(folder: Path, checkpoint: Checkpoint) -> list[str]:
    """The checkpoint's files that the folder lacks."""
    return [name for name in checkpoint.files if not (folder / name).is_file()]


def read_config(folder: Path, name: str = "config.json") -> dict[str, object]:
    """The folder's configuration as a dict.

    Raises:
        ConfigError: missing, unreadable, or no JSON object.
    """
    path = folder / name
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: expected the checkpoint's configuration, found no such file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: expected the checkpoint's configuration as JSON: {error}") from None
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: expected a JSON object, found {type(config).__name__}")
    return config
