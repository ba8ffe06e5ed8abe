"""Find the weights to load and list those present: from a name, index or folder to one checked folder.

A checkpoint is stored in its own folder below the family's folder, so that several fit side by side, or
directly in the family's folder, as TDgpt does it.
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
# Files copied by hand have no manifest, so their size identifies them: a card's size and the real one differ by a
# configuration file at most, while the sizes of two checkpoints of one family differ by a factor.
SAME_SIZE = 0.02


@dataclass(frozen=True)
class State:
    """The files of one checkpoint on disk.

    Attributes:
        status: "complete", "damaged" (files are missing or have a wrong size), "unreadable" (to this user), "unusable"
            (files of something else), "partial" (an interrupted download that will be resumed) or "missing".
        folder: the folder of the files; None: nothing can be loaded.
        bytes: disk space used.
        detail: what is wrong; empty if complete or missing.
        remedy: what to do; empty: download or import the weights again.
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
        ConfigError: no such checkpoint; the message lists the known ones.
    """
    for index, checkpoint in enumerate(card.checkpoints):
        if name in (str(index), checkpoint.name, checkpoint.folder):
            return checkpoint
    imported = own.present(card, root) if root else []
    for checkpoint in imported:
        if name == checkpoint.name:
            return checkpoint
    known = [f"{i}: {c.name}" for i, c in enumerate(card.checkpoints)] + [c.name for c in imported]
    hint = (
        "" if own.refusal(card, name) else f"; to add one of your own, run: tsfm import DIR {card.name} --name {name}"
    )
    listed = ", ".join(known) or "none to choose from"
    raise ConfigError(f"checkpoint: expected one of {card.name} ({listed}), got {name!r}{hint}")


def family_folder(card: Card, model_folder: str | None) -> Path:
    """The folder of the family's weights: the given one, or the default one, shared with TDgpt."""
    return Path(model_folder) if model_folder else MODEL_ROOT / card.name


def find(card: Card, model_folder: str | None, name: str | None) -> Path | None:
    """The folder of the checkpoint ``name``, or of the first complete one; None: there is none.

    Raises:
        ConfigError: the family has no checkpoint of that name.
    """
    root = family_folder(card, model_folder)
    for checkpoint in [named(card, name, root)] if name else [*card.checkpoints, *own.present(card, root)]:
        if not problems(root / checkpoint.folder, checkpoint):
            return root / checkpoint.folder
        if not checkpoint.own and not problems(root, checkpoint) and checkpoint in _flat(card, root):
            return root
    return None


def resolve(card: Card, model_folder: str | None, name: str | None) -> Path | None:
    """The folder to load, or None for a family whose weights come with its package.

    Raises:
        TryLater: files are missing and may still arrive; the message says which, and what to run.
        ConfigError: the files that are present cannot be loaded.
    """
    root = family_folder(card, model_folder)
    if not card.checkpoints:
        return root if model_folder else None
    if folder := find(card, model_folder, name):
        return folder
    checkpoint = named(card, name, root) if name else card.checkpoints[0]
    folder = root / checkpoint.folder
    where = folder if _is_folder(folder) else root
    found = problems(where, checkpoint)
    error = next((problem.error for problem in found), ConfigError)
    reasons = "; ".join(problem.text for problem in found) or "holds another checkpoint of the family"
    absent = bool(model_folder) and not os.path.lexists(root)
    reasons += ": there is no such folder" if absent else ""
    reasons += _last_failure(root, checkpoint)
    advice = next((problem.remedy for problem in found if problem.remedy), "")
    if not advice and not name and (unimported := own.unimported(card, root)):
        reasons, advice = f"{reasons}; {unimported[0].what}", unimported[0].remedy
    advice = advice or remedy(card, checkpoint, root)
    raise error(f"weights of {checkpoint.name}: {where} {reasons}; {'check its name, or ' if absent else ''}{advice}")


def remedy(card: Card, checkpoint: Checkpoint, root: Path) -> str:
    """The command, or the steps, that bring the weights into the family's folder ``root``."""
    folder = "" if root == MODEL_ROOT / card.name else f" --folder {root}"
    if checkpoint.own:
        return f"import it again from your copy: tsfm import DIR {card.name} --name {checkpoint.name}{folder}"
    if checkpoint.pullable:
        return f"run: tsfm pull {card.name} {checkpoint.name}{folder}"
    files = ", ".join(checkpoint.files)
    return f"{files} comes with TDgpt and is not on the hub: copy it to {root}, or run: tsfm import FILE{folder}"


def state(card: Card, root: Path) -> list[State]:
    """The state of each checkpoint in the family's folder ``root``: those of the card, then the user's own."""
    if (denied := reading.access_error(root)) and not reading.absent(denied):
        sentence, advice = reading.explain(root, denied)
        return [State(each, UNREADABLE, root, 0, sentence, advice) for each in card.checkpoints]
    flat = _flat(card, root)
    official = [_state(checkpoint, root, checkpoint in flat[:1]) for checkpoint in card.checkpoints]
    return official + [_state(checkpoint, root, False) for checkpoint in own.present(card, root)]


def as_stored(state: State) -> Checkpoint:
    """The checkpoint with the file names as stored, for example shards in place of the single file."""
    if state.folder is None:
        return state.checkpoint
    try:
        return replace(state.checkpoint, files=files(state.folder, state.checkpoint))
    except TsfmError:
        return state.checkpoint  # an unreadable index gives no names


def bytes_below(folder: Path) -> int:
    """Total bytes of the files below the folder; files that vanish meanwhile are skipped."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                continue  # a download renames its files when they are complete
    return total


def failure_note(root: Path, folder: str) -> Path:
    """The file with the error sentence of the last failed download into ``folder``."""
    return root / f".failed-{folder}"


def _last_failure(root: Path, checkpoint: Checkpoint) -> str:
    try:
        with open_regular(failure_note(root, checkpoint.folder)) as note:
            message = note.read(4096).decode(errors="replace")
    except OSError:
        return ""
    return f"; the last download failed: {' '.join(message.split())[:500]}"


def _flat(card: Card, root: Path) -> list[Checkpoint]:
    """The checkpoints that the files directly in the family's folder may be.

    A manifest decides; without one the size does, if it is that of a known checkpoint; else every checkpoint
    whose files are present is possible (fine-tuned weights), in the card's order.
    """
    possible = [checkpoint for checkpoint in card.checkpoints if may_hold(root, checkpoint)]
    try:
        listed = manifest.read(root)
    except TsfmError:
        return possible[:1]  # the error is reported for that checkpoint
    if listed:
        return [checkpoint for checkpoint in possible if checkpoint.name == listed.checkpoint]
    same_size = [c for c in possible if abs(size(root, c) - c.bytes) <= SAME_SIZE * c.bytes]
    return same_size or possible


def _is_folder(path: Path) -> bool:
    """Whether the path is a folder or cannot be examined; a file of that name is TDgpt's taos.pth."""
    return reading.may_exist(path) and not os.path.isfile(path)


def _state(checkpoint: Checkpoint, root: Path, flat: bool) -> State:
    own_folder = root / checkpoint.folder
    partial = root / f"{PARTIAL}{checkpoint.folder}"
    for folder in (own_folder, root) if flat else (own_folder,):
        if _is_folder(folder):
            found = problems(folder, checkpoint)
            status = found[0].kind if found else "complete"
            reasons = "; ".join(problem.text for problem in found)
            advice = next((problem.remedy for problem in found if problem.remedy), "")
            return State(checkpoint, status, folder, size(folder, checkpoint), reasons, advice)
    if os.path.isdir(partial):
        received = bytes_below(partial)
        return State(
            checkpoint, "partial", None, received, f"{received * 100 // max(checkpoint.bytes, 1)} % downloaded"
        )
    return State(checkpoint, "missing", None, 0, "")
