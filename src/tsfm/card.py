"""The facts of a model family, read from its source file without importing or loading it.

The command line, registration, packaging and documentation all read the ``CARD`` literal at the top of
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
        name: name on the hub, for example "amazon/chronos-bolt-tiny".
        parameters: number of parameters.
        bytes: total size of its files.
        files: required files in the folder, the weights last.
        capabilities: names of the fields of ``Capabilities`` that are true for it.
        pullable: False for weights that are not downloaded from the hub.
        revision: the hub's commit to download; empty: none is known, and the newest of ``branch`` is downloaded.
        branch: the hub's branch or tag to download, if no commit is known.
        sha256: hash of each file at that commit, by file name, as far as it is known.
        marks: values in config.json that all models of this kind have; "*": the key exists.
        shape: further values in config.json that identify this model's size.
        own: the user gave it a name at import; no card lists it.
    """

    name: str
    parameters: int
    bytes: int
    files: tuple[str, ...]
    capabilities: tuple[str, ...]
    pullable: bool = True
    revision: str = ""
    branch: str = "main"
    sha256: Mapping[str, str] = field(default_factory=dict, hash=False)
    marks: Mapping[str, object] = field(default_factory=dict, hash=False)
    shape: Mapping[str, object] = field(default_factory=dict, hash=False)
    own: bool = False

    @property
    def folder(self) -> str:
        """Its folder inside the family's folder: the name without the owner."""
        return self.name.rpartition("/")[2]


@dataclass(frozen=True)
class Card:
    """The facts of one family. The fields are those of the ``CARD`` literal, and its name.

    Attributes:
        licence: of the weights.
        commercial: whether the licence permits commercial use: "yes", "no", or "limited" (under conditions that a
            company has to check, such as those of the AGPL).
        year: in which the newest of its checkpoints was published.
        keys: TDgpt's names for the family in SQL; the first one is registered.
        task: the name of a task in ``engine/tasks.py``.
        paths: HTTP paths that accept the task's POST; the first one is registered.
        checkpoints: in index order; the first is the default. Empty: the package contains the weights.
        requirements: pins of its environment, in addition to the runtime's.
        overrides: uv overrides for upstream pins that are too narrow.
        dropped: upstream's dependencies that serving does not need.
        int8: whether its large products can run in int8 (``nets/int8.py``).
        packaged: False for families that are for tests only.
    """

    name: str
    summary: str
    licence: str
    commercial: str
    year: int
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
    int8: bool = False
    packaged: bool = True


def names(packaged_only: bool = False) -> list[str]:
    """Names of the families on disk, without importing any of them."""
    found = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))
    return [name for name in found if read(name).packaged] if packaged_only else found


@cache
def read(name: str) -> Card:
    """The card of a family. Its file must exist."""
    tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == ["CARD"]:
            return _card(name, ast.literal_eval(node.value))
    raise ValueError(f"families/{name}.py has no CARD literal")


def _card(name: str, facts: dict[str, object]) -> Card:
    rows = facts.pop("checkpoints", [])
    if not isinstance(rows, list):
        raise ValueError(f"families/{name}.py: CARD's checkpoints must be a list")
    # A misspelt or missing field raises TypeError here; the guard tests report its name.
    return Card(name=name, checkpoints=tuple(Checkpoint(**_frozen(row)) for row in rows), **_frozen(facts))


def _frozen(facts: dict[str, object]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}
