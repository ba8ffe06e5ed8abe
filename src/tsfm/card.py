"""What is known of a model family without loading it: read from its source file, never imported.

Command line, registration, packaging and documents all read the ``CARD`` literal at the top of
``families/<family>.py``, so none of them needs torch.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "families"


@dataclass(frozen=True)
class Checkpoint:
    """One set of weights that the family can load.

    Attributes:
        name: as on the hub, "amazon/chronos-bolt-tiny".
        parameters: number of parameters.
        bytes: size of its files together.
        files: what must lie in the folder, the weights last.
        capabilities: names of the fields of ``Capabilities`` that hold for it.
        pullable: False for weights that come by other ways than the hub.
        revision: the hub's commit that is downloaded; empty: none is known, and the newest is.
        sha256: of the files at that commit, by name, as far as they are known.
        marks: what config.json says of every model of this kind; "*": the key is there.
        shape: what it says of this one's size, beyond that.
        own: it was given a name of its own when it was imported; no card lists it.
    """

    name: str
    parameters: int
    bytes: int
    files: tuple[str, ...]
    capabilities: tuple[str, ...]
    pullable: bool = True
    revision: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict, hash=False)
    marks: Mapping[str, object] = field(default_factory=dict, hash=False)
    shape: Mapping[str, object] = field(default_factory=dict, hash=False)
    own: bool = False

    @property
    def folder(self) -> str:
        """The folder it lies in below the family's: the name without its owner."""
        return self.name.rpartition("/")[2]


@dataclass(frozen=True)
class Card:
    """The facts of one family; the fields are those of the ``CARD`` literal, plus its name.

    Attributes:
        keys: TDgpt's names for it in SQL; the first one is registered.
        task: the name of a task in ``engine/tasks.py``.
        paths: HTTP paths that take the task's POST; the first one is registered.
        checkpoints: in index order; the first is the default. Empty: weights come with the package.
        requirements: pins of its environment, beyond the runtime's.
        overrides: uv overrides, for pins that upstream states too narrowly.
        dropped: upstream's dependencies that serving does not need.
        packaged: False for families that serve tests only.
    """

    name: str
    summary: str
    licence: str
    paper: str
    keys: tuple[str, ...]
    task: str
    paths: tuple[str, ...]
    port: int
    memory_mib: int  # resident memory of the default checkpoint while serving
    checkpoints: tuple[Checkpoint, ...] = ()
    requirements: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    packaged: bool = True


def names(packaged_only: bool = False) -> list[str]:
    """The families on disk, without importing any of them."""
    found = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))
    return [name for name in found if read(name).packaged] if packaged_only else found


@cache
def read(name: str) -> Card:
    """The card of a family whose file exists."""
    tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == ["CARD"]:
            return _card(name, ast.literal_eval(node.value))
    raise ValueError(f"families/{name}.py has no CARD literal")


def _card(name: str, facts: dict[str, object]) -> Card:
    rows = facts.pop("checkpoints", [])
    if not isinstance(rows, list):
        raise ValueError(f"families/{name}.py: CARD's checkpoints must be a list")
    # A misspelt or missing field is a TypeError here, which the guard tests show with its name.
    return Card(name=name, checkpoints=tuple(Checkpoint(**_frozen(row)) for row in rows), **_frozen(facts))


def _frozen(facts: dict[str, object]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}
