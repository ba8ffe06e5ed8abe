"""Which weights to load, and which are there: from names, indexes and folders to one checked folder.

Weights lie in a folder of their own below the family's, so that several can lie side by side, or
directly in the family's folder, as TDgpt lays them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from tsfm.card import Card, Checkpoint
from tsfm.errors import ConfigError, TsfmError
from tsfm.settings import MODEL_ROOT
from tsfm.weights import manifest, own, reading
from tsfm.weights.folder import open_regular
from tsfm.weights.problems import UNREADABLE, files, may_hold, problems, size

PARTIAL = ".partial-"
# Files laid by hand carry no name. A card's size and the real one differ by a configuration file
# at most, while two checkpoints of one family differ by a factor.
SAME_SIZE = 0.02


@dataclass(frozen=True)
class State:
    """What lies on the disk of one checkpoint.

    Attributes:
        status: "complete", "damaged" (files lack or have a wrong size), "unreadable" (to this user), "unusable" (other
            files than a checkpoint's), "partial" (a download that was broken off and will go on from there) or
            "missing".
        folder: where the files lie; None when nothing can be loaded.
        bytes: how much disk it takes.
        detail: what is wrong; empty when complete or missing.
        remedy: what to do; empty where bringing the weights again helps.
    """

    checkpoint: Checkpoint
    status: str
    folder: Path | None
    bytes: int
    detail: str
    remedy: str = ""


def named(card: Card, name: str, root: Path | None = None) -> Checkpoint:
    """A checkpoint by index ("2"), full name, the name without its owner, or its own name in the family's ``root``.

    Raises:
        ConfigError: none such; the message lists them.
    """
    for index, checkpoint in enumerate(card.checkpoints):
        if name in (str(index), checkpoint.name, checkpoint.folder):
            return checkpoint
    mine = own.there(card, root) if root else []
    for checkpoint in mine:
        if name == checkpoint.name:
            return checkpoint
    known = [f"{i}: {c.name}" for i, c in enumerate(card.checkpoints)] + [c.name for c in mine]
    hint = "" if own.refusal(card, name) else f"; one of your own comes by: tsfm import DIR {card.name} --name {name}"
    listed = ", ".join(known) or "none to choose from"
    raise ConfigError(f"checkpoint: {card.name} has {listed}; got {name!r}{hint}")


def family_folder(card: Card, model_folder: str | None) -> Path:
    """The folder of the family's weights: the given one, else the one that TDgpt uses too."""
    return Path(model_folder) if model_folder else MODEL_ROOT / card.name


def find(card: Card, model_folder: str | None, name: str | None) -> Path | None:
    """The folder of the checkpoint ``name``, or of the first that is complete; None: there is none.

    Raises:
        ConfigError: the family has no checkpoint of that name.
    """
    root = family_folder(card, model_folder)
    for checkpoint in [named(card, name, root)] if name else [*card.checkpoints, *own.there(card, root)]:
        if not problems(root / checkpoint.folder, checkpoint):
            return root / checkpoint.folder
        if not checkpoint.own and not problems(root, checkpoint) and checkpoint in _flat(card, root):
            return root
    return None


def resolve(card: Card, model_folder: str | None, name: str | None) -> Path | None:
    """The folder to load, or None for a family whose weights come with its package.

    Raises:
        TryLater: the files are not there, or not yet; the message says which, and what to run.
        ConfigError: what is there cannot be loaded.
    """
    root = family_folder(card, model_folder)
    if not card.checkpoints:
        return root if model_folder else None
    if folder := find(card, model_folder, name):
        return folder
    checkpoint = named(card, name, root) if name else card.checkpoints[0]
    mine = root / checkpoint.folder
    where = mine if _is_folder(mine) else root
    found = problems(where, checkpoint)
    error = next((problem.error for problem in found), ConfigError)
    wrong = "; ".join(problem.text for problem in found) or "holds another checkpoint of the family"
    absent = bool(model_folder) and not os.path.lexists(root)
    wrong += ": there is no such folder" if absent else ""
    wrong += _last_failure(root, checkpoint)
    way = next((problem.remedy for problem in found if problem.remedy), "")
    if not way and not name and (strangers := own.strangers(card, root)):
        wrong, way = f"{wrong}; {strangers[0].what}", strangers[0].remedy
    way = way or remedy(card, checkpoint, root)
    raise error(f"weights of {checkpoint.name}: {where} {wrong}; {'check its name, or ' if absent else ''}{way}")


def remedy(card: Card, checkpoint: Checkpoint, root: Path) -> str:
    """What to run, or to do, so that the weights are in the family's folder ``root``."""
    folder = "" if root == MODEL_ROOT / card.name else f" --folder {root}"
    if checkpoint.own:
        return f"bring it again from where you have it: tsfm import DIR {card.name} --name {checkpoint.name}{folder}"
    if checkpoint.pullable:
        return f"run: tsfm pull {card.name} {checkpoint.name}{folder}"
    files = ", ".join(checkpoint.files)
    return f"{files} comes with TDgpt and is not on the hub: copy it to {root}, or run: tsfm import FILE{folder}"


def state(card: Card, root: Path) -> list[State]:
    """What lies in the family's folder ``root`` of each checkpoint: those of the card, then those of one's own."""
    if (denied := reading.trouble(root)) and not reading.absent(denied):
        sentence, way = reading.denial(root, denied)
        return [State(each, UNREADABLE, root, 0, sentence, way) for each in card.checkpoints]
    flat = _flat(card, root)
    official = [_state(checkpoint, root, checkpoint in flat[:1]) for checkpoint in card.checkpoints]
    return official + [_state(checkpoint, root, False) for checkpoint in own.there(card, root)]


def as_laid(state: State) -> Checkpoint:
    """The checkpoint with the names of the files that lie there, shards for the one file say."""
    if state.folder is None:
        return state.checkpoint
    try:
        return replace(state.checkpoint, files=files(state.folder, state.checkpoint))
    except TsfmError:
        return state.checkpoint  # an index that cannot be read names nothing


def bytes_below(folder: Path) -> int:
    """What the files below the folder take; one that vanishes meanwhile counts nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                continue  # the client renames its files when they are complete
    return total


def failure_note(root: Path, folder: str) -> Path:
    """Where the sentence lies with which the last download into ``folder`` ended, if it failed."""
    return root / f".failed-{folder}"


def _last_failure(root: Path, checkpoint: Checkpoint) -> str:
    try:
        with open_regular(failure_note(root, checkpoint.folder)) as note:
            said = note.read(4096).decode(errors="replace")
    except OSError:
        return ""
    return f"; the last download failed: {' '.join(said.split())[:500]}"


def _flat(card: Card, root: Path) -> list[Checkpoint]:
    """Which checkpoints the files directly in the family's folder may be.

    A manifest says it; else the size does, when it is that of a known checkpoint; else it may be
    any whose files are there (weights of one's own), the first one before the others.
    """
    there = [checkpoint for checkpoint in card.checkpoints if may_hold(root, checkpoint)]
    try:
        listed = manifest.read(root)
    except TsfmError:
        return there[:1]  # what is wrong with it is told as that checkpoint's
    if listed:
        return [checkpoint for checkpoint in there if checkpoint.name == listed.checkpoint]
    sized = [c for c in there if abs(size(root, c) - c.bytes) <= SAME_SIZE * c.bytes]
    return sized or there


def _is_folder(path: Path) -> bool:
    """A folder, or one that cannot be looked at; a file of that name is TDgpt's taos.pth."""
    return reading.there(path) and not os.path.isfile(path)


def _state(checkpoint: Checkpoint, root: Path, flat: bool) -> State:
    mine = root / checkpoint.folder
    partial = root / f"{PARTIAL}{checkpoint.folder}"
    for folder in (mine, root) if flat else (mine,):
        if _is_folder(folder):
            found = problems(folder, checkpoint)
            status = found[0].kind if found else "complete"
            wrong = "; ".join(problem.text for problem in found)
            way = next((problem.remedy for problem in found if problem.remedy), "")
            return State(checkpoint, status, folder, size(folder, checkpoint), wrong, way)
    if os.path.isdir(partial):
        there = bytes_below(partial)
        return State(checkpoint, "partial", None, there, f"{there * 100 // max(checkpoint.bytes, 1)} % are there")
    return State(checkpoint, "missing", None, 0, "")
