"""Read weights again and compare them with the hashes recorded at their download or import."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tsfm import card as cards
from tsfm import families, settings
from tsfm.card import Card
from tsfm.errors import ConfigError, TsfmError, UsageError
from tsfm.weights import checkpoints, manifest, own, pins, progress, safe_path, staging
from tsfm.weights.checkpoints import State


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("family", metavar="FAMILY", nargs="?", help="only this family; default: all of `tsfm list`")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", help="a name or an index of `tsfm list`")
    parser.add_argument("--folder", metavar="D", help="the family's folder, if not that of tsfm.ini")


def run(args: argparse.Namespace) -> int:
    if args.folder and not args.family:
        raise UsageError("--folder belongs to one family: give FAMILY as well")
    chosen = [families.find(args.family)] if args.family else [cards.read(n) for n in cards.names(packaged_only=True)]
    told = [code for card in chosen for code in _family(card, args)]
    if not told:
        raise ConfigError("there are no weights to verify; see tsfm list")
    return 0 if all(told) else 1


def _family(card: Card, args: argparse.Namespace) -> list[bool]:
    """Verify the family's weights: one result for each checkpoint, and False for each entry that is no checkpoint."""
    root = checkpoints.family_folder(card, settings.read(card.name, {"model_folder": args.folder}).model_folder)
    wanted = checkpoints.named(card, args.checkpoint, root) if args.checkpoint else None
    states = [state for state in checkpoints.state(card, root) if state.folder and wanted in (None, state.checkpoint)]
    right = [_verify(card, state, root) for state in states]
    for stranger in [] if wanted else own.unimported(card, root):
        print(f"tsfm: {card.name}: {stranger.what}; {stranger.remedy}", file=sys.stderr)
        right.append(False)
    return right


def _verify(card: Card, state: State, root: Path) -> bool:
    """Print the state of one checkpoint; True: no error was found."""
    name = state.checkpoint.name
    again = state.remedy or checkpoints.remedy(card, state.checkpoint, root)
    if state.status != "complete":
        is_damaged = "is damaged: " if state.status == "damaged" else ""
        print(f"tsfm: {name}: {state.folder} {is_damaged}{state.detail}; {again}", file=sys.stderr)
        return False
    listed = manifest.read(state.folder) if state.folder else None
    if not listed or not state.folder:
        print(f"{name}: complete in {state.folder}, but without recorded hashes to compare with")
        return True
    try:
        # In a folder of another user, files are read with that user's rights, wherever links lead.
        with (
            safe_path.nearest(state.folder) as near,
            near.as_owner(),
            near.make() as held,
            progress.showing(state.checkpoint.folder, listed.bytes) as shown,
        ):
            wrong = manifest.differences(held.here, listed, shown.add, state.folder)
    except TsfmError as error:
        print(f"tsfm: {name}: {error}", file=sys.stderr)
        return False
    wrong += pins.differences(state.checkpoint, listed.revision, listed.files)
    if not state.checkpoint.own:
        print(f"{name}: {pins.standing(state.checkpoint, listed.revision)}", file=sys.stderr)
    if not wrong:
        print(f"{name}: {staging.megabytes(state.bytes)} verified in {state.folder}")
        return True
    # A hash cannot show whether the disk damaged the file or somebody replaced it on purpose.
    mine = f"if somebody changed it on purpose, keep it: mv {state.folder} ELSEWHERE; else run: "
    first = f"tsfm remove {card.name} {name}, then {again}" if state.checkpoint.pullable else again
    print(f"tsfm: {name}: {state.folder} is not what was recorded: {'; '.join(wrong)}; {mine}{first}", file=sys.stderr)
    return False
