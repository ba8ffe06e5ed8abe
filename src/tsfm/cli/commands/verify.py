"""Read weights again and compare them with the hashes that were recorded when they came."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tsfm import card as cards
from tsfm import families, settings
from tsfm.card import Card
from tsfm.errors import ConfigError, UsageError
from tsfm.weights import checkpoints, manifest, pins, progress, reach, staging
from tsfm.weights.checkpoints import State


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("family", metavar="FAMILY", nargs="?", help="only this one; else all of `tsfm list`")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", help="a name or an index of `tsfm list`")
    parser.add_argument("--folder", metavar="D", help="the family's folder, if not that of tsfm.ini")


def run(args: argparse.Namespace) -> int:
    if args.folder and not args.family:
        raise UsageError("--folder is one family's: name the family as well")
    chosen = [families.find(args.family)] if args.family else [cards.read(n) for n in cards.names(packaged_only=True)]
    found, bad = 0, 0
    for card in chosen:
        chosen_folder = settings.read(card.name, {"model_folder": args.folder}).model_folder
        root = checkpoints.family_folder(card, chosen_folder)
        wanted = checkpoints.named(card, args.checkpoint) if args.checkpoint else None
        for state in checkpoints.state(card, root):
            if state.folder and wanted in (None, state.checkpoint):
                found += 1
                bad += _verify(card, state, root)
    if not found:
        raise ConfigError("there are no weights to verify; see tsfm list")
    return 1 if bad else 0


def _verify(card: Card, state: State, root: Path) -> bool:
    """Tell how one checkpoint is; True: damaged."""
    name = state.checkpoint.name
    if state.status == "damaged":
        wrong = [state.detail]
    elif state.folder and (listed := manifest.read(state.folder)):
        # What lies in somebody else's folder is read as he may, wherever his links lead.
        with (
            reach.nearest(state.folder) as near,
            near.as_owner(),
            near.make() as held,
            progress.showing(state.checkpoint.folder, listed.bytes) as shown,
        ):
            wrong = manifest.differences(held.here, listed, shown.add)
        wrong += pins.differences(state.checkpoint, listed.revision, listed.files)
        print(f"{name}: {pins.standing(state.checkpoint, listed.revision)}", file=sys.stderr)
    else:
        print(f"{name}: complete in {state.folder}, but without recorded hashes to compare with")
        return False
    if not wrong:
        print(f"{name}: {staging.megabytes(state.bytes)} verified in {state.folder}")
        return False
    first = f"tsfm remove {card.name} {name}"
    again = checkpoints.remedy(card, state.checkpoint, root)
    damage = f"{state.folder} is damaged: {'; '.join(wrong)}"
    print(f"tsfm: {name}: {damage}; run: {first}, then {again}", file=sys.stderr)
    return True
