"""Show the families, their checkpoints, and what is installed here."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from tsfm import card, install


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="everything that is known, for programs")


def run(args: argparse.Namespace) -> int:
    cards = [card.read(name) for name in card.names(packaged_only=True)]
    installed = set(install.installed_families())
    if args.json:
        print(json.dumps([asdict(c) | {"installed": c.name in installed} for c in cards], indent=2))
        return 0
    rows = [("FAMILY", "PORT", "KEY IN SQL", "INSTALLED", "INDEX", "CHECKPOINT", "PARAMETERS", "SIZE", "LICENCE")]
    for c in cards:
        head = (c.name, str(c.port), c.keys[0], "yes" if c.name in installed else "no")
        for index, checkpoint in enumerate(c.checkpoints):
            rows.append((*head, str(index), checkpoint.name, *_weight(checkpoint), c.licence))
            head = ("", "", "", "")
        if not c.checkpoints:
            rows.append((*head, "-", "in the package", "", "", c.licence))
    print(table(rows))
    return 0


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _weight(checkpoint: card.Checkpoint) -> tuple[str, str]:
    return f"{checkpoint.parameters / 1e6:.1f} M", f"{checkpoint.bytes / 1e6:.0f} MB"
