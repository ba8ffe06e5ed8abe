"""The pinned commit of a checkpoint, and the check that files are those of that commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tsfm.card import Checkpoint
from tsfm.weights import manifest
from tsfm.weights.manifest import File


def commit(folder: Path) -> str:
    """The commit of the weights in the folder; empty: unknown."""
    listed = manifest.read(folder)
    return listed.revision if listed else ""


def hashes(checkpoint: Checkpoint, revision: str) -> Mapping[str, str]:
    """The pinned SHA-256 of the checkpoint's files at the revision, by file name."""
    return checkpoint.sha256 if revision == checkpoint.revision or not checkpoint.revision else {}


def differences(checkpoint: Checkpoint, revision: str, files: Sequence[File]) -> list[str]:
    """One sentence for each file that claims to be of the pinned commit and has another hash."""
    known = hashes(checkpoint, revision) if revision else {}
    return [
        f"{file.name}: expected SHA-256 {known[file.name]} (commit {revision}), found {file.sha256}"
        for file in files
        if file.sha256 != known.get(file.name, file.sha256)
    ]


def recognised(checkpoint: Checkpoint, files: Sequence[File]) -> str:
    """The pinned commit if every file has its pinned hash; empty otherwise."""
    return checkpoint.revision if {file.name: file.sha256 for file in files} == dict(checkpoint.sha256) else ""


def unpinned(checkpoint: Checkpoint, revision: str) -> str:
    """A sentence for weights of another commit than the pinned one; empty: the commits are equal."""
    this = f"commit {revision}" if revision else "of an unknown commit"
    if not checkpoint.revision:
        return f"no commit is pinned; this is {this}"
    return "" if revision == checkpoint.revision else f"this is {this}, not the pinned {checkpoint.revision}"


def standing(checkpoint: Checkpoint, revision: str) -> str:
    """The commit of the weights compared with the pinned one, as a sentence for people."""
    return unpinned(checkpoint, revision) or f"commit {revision}, as pinned"
