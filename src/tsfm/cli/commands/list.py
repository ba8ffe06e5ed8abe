"""Show the families, their checkpoints, and what is installed here."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from tsfm import card, paths, settings
from tsfm.weights import checkpoints, pins

TITLES = (
    *("FAMILY", "INSTALLED", "PORT", "KEY IN SQL", "MEMORY", "LICENCE"),
    *("INDEX", "CHECKPOINT", "PARAMETERS", "SIZE", "WEIGHTS", "CAN"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="everything that is known, for programs")


def run(args: argparse.Namespace) -> int:
    cards = [card.read(name) for name in card.names(packaged_only=True)]
    installed = set(paths.installed_families())
    print(json.dumps([_facts(c, installed) for c in cards], indent=2) if args.json else table(_rows(cards, installed)))
    return 0


def _facts(c: card.Card, installed: set[str]) -> dict[str, object]:
    here = {entry.checkpoint.name: entry for entry in _weights(c)}
    checkpoints = [
        asdict(w)
        | {"status": here[w.name].status, "bytes_here": here[w.name].bytes, "detail": here[w.name].detail}
        | {"revision_here": _commit(here[w.name])}
        for w in c.checkpoints
    ]
    return asdict(c) | {"installed": c.name in installed, "checkpoints": checkpoints}


def _rows(cards: Sequence[card.Card], installed: set[str]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [TITLES]
    for c in cards:
        head: tuple[str, ...] = (
            c.name,
            "yes" if c.name in installed else "no",
            str(c.port),
            c.keys[0],
            f"{c.memory_mib} MiB",
            c.licence,
        )
        if not c.checkpoints:
            rows.append((*head, "-", "in the package", "", "", "", ""))
        for index, entry in enumerate(_weights(c)):
            weights = entry.checkpoint
            can = ", ".join(weights.capabilities).replace("_", " ")
            size, parameters = f"{weights.bytes / 1e6:.0f} MB", f"{weights.parameters / 1e6:.1f} M"
            rows.append((*head, str(index), weights.name, parameters, size, _status(entry), can))
            head = ("",) * len(head)
    return rows


def _status(entry: checkpoints.State) -> str:
    """Whether they are there, and of which commit where that is not the pinned one."""
    revision = _commit(entry)
    return f"{entry.status}, {revision[:8]}" if revision not in ("", entry.checkpoint.revision) else entry.status


def _commit(entry: checkpoints.State) -> str:
    return pins.commit(entry.folder) if entry.folder and entry.status == "complete" else ""


def _weights(c: card.Card) -> list[checkpoints.State]:
    folder = settings.read(c.name, {}).model_folder
    return checkpoints.state(c, checkpoints.family_folder(c, folder))


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
