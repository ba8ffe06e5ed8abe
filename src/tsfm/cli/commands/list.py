"""Show the families, their checkpoints, and which of them are installed here."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tsfm import card, paths, settings
from tsfm.cli.output import columns
from tsfm.engine import abilities
from tsfm.weights import checkpoints, own, pins

TITLES = (
    *("FAMILY", "INSTALLED", "PORT", "KEY IN SQL", "MEMORY", "LICENCE", "COMMERCIAL", "YEAR"),
    *("INDEX", "CHECKPOINT", "PARAMETERS", "SIZE", "WEIGHTS"),
    *("UNIVARIATE", "COVARIATES", "VARIATES", "ANOMALIES"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print all facts as JSON")


def run(args: argparse.Namespace) -> int:
    cards = [card.read(name) for name in card.names(packaged_only=True)]
    installed = set(paths.installed_families())
    if args.json:
        print(json.dumps([_facts(c, installed) for c in cards], indent=2))
    else:
        print("\n".join([columns.text(_rows(cards, installed)), *(note for c in cards for note in _notes(c))]))
    return 0


def _notes(c: card.Card) -> list[str]:
    """Files in the family's folder that cannot be served, each with its remedy."""
    root = _root(c)
    wrong = [entry for entry in checkpoints.state(c, root) if entry.folder and entry.detail]
    states = [
        f"{entry.checkpoint.name}: {entry.folder} {entry.detail}; "
        f"{entry.remedy or checkpoints.remedy(c, entry.checkpoint, root)}"
        for entry in wrong
    ]
    return states + [f"{c.name}: {found.what}; {found.remedy}" for found in own.unimported(c, root)]


def _facts(c: card.Card, installed: set[str]) -> dict[str, object]:
    found = [
        asdict(e.checkpoint)
        | {"status": e.status, "bytes_here": e.bytes, "detail": e.detail, "remedy": e.remedy}
        | {"revision_here": _commit(e), "ways": abilities.ways(c.task, e.checkpoint.capabilities)}
        for e in _weights(c)
    ]
    strangers = [asdict(each) for each in own.unimported(c, _root(c))]
    facts = asdict(c) | {"installed": c.name in installed, "checkpoints": found, "strangers": strangers}
    return facts if found else facts | {"ways": abilities.ways(c.task, ())}


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
            c.commercial,
            str(c.year),
        )
        if not c.checkpoints:
            rows.append((*head, "-", "in the package", "", "", "", *abilities.cells(c.task, ())))
        for index, entry in enumerate(_weights(c)):
            weights = entry.checkpoint
            can = abilities.cells(c.task, weights.capabilities)
            size = f"{weights.bytes / 1e6:.0f} MB"
            number, parameters = ("-", "-") if weights.own else (str(index), f"{weights.parameters / 1e6:.1f} M")
            rows.append((*head, number, weights.name, parameters, size, _status(entry), *can))
            head = ("",) * len(head)
    return rows


def _status(entry: checkpoints.State) -> str:
    """The state of the weights, and their commit if that is not the pinned one."""
    revision = _commit(entry)
    return f"{entry.status}, {revision[:8]}" if revision not in ("", entry.checkpoint.revision) else entry.status


def _commit(entry: checkpoints.State) -> str:
    return pins.commit(entry.folder) if entry.folder and entry.status == "complete" else ""


def _weights(c: card.Card) -> list[checkpoints.State]:
    return checkpoints.state(c, _root(c))


def _root(c: card.Card) -> Path:
    return checkpoints.family_folder(c, settings.read(c.name, {}).model_folder)
