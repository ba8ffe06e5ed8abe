"""Read weights again and compare them with the hashes recorded at their download or import."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tsfm import card as cards
from tsfm import families, settings
from tsfm.card import Card
from tsfm.errors import ConfigError, TsfmError, UsageError
from tsfm.weights import checkpoints, manifest, own, pins, progress, safe_path, staging
from tsfm.weights.checkpoints import State


@dataclass(frozen=True)
class Verdict:
    """The result for one checkpoint, or for an entry of the family's folder that is none.

    Attributes:
        checkpoint: its name; empty for an entry that is no checkpoint.
        verified: all hashes are right; None: complete, but without recorded hashes.
        text: one sentence, with what to do where something is wrong.
        note: what is known of its commit.
    """

    family: str
    checkpoint: str
    folder: str
    verified: bool | None
    text: str
    note: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("family", metavar="FAMILY", nargs="?", help="only this family; default: all of `tsfm list`")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", help="a name or an index of `tsfm list`")
    parser.add_argument("--folder", metavar="D", help="the family's folder, if not that of tsfm.ini")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def run(args: argparse.Namespace) -> int:
    if args.folder and not args.family:
        raise UsageError("--folder belongs to one family: give FAMILY as well")
    chosen = [families.find(args.family)] if args.family else [cards.read(n) for n in cards.names(packaged_only=True)]
    verdicts: list[Verdict] = []
    for verdict in (one for card in chosen for one in _family(card, args)):
        verdicts.append(verdict)
        if not args.json:
            _print(verdict)
    if not verdicts:
        raise ConfigError("there are no weights to verify; see tsfm list")
    if args.json:
        print(json.dumps([asdict(verdict) for verdict in verdicts], indent=2))
    return 1 if any(verdict.verified is False for verdict in verdicts) else 0


def _print(verdict: Verdict) -> None:
    name = verdict.checkpoint or verdict.family
    if verdict.note:
        print(f"{name}: {verdict.note}", file=sys.stderr)
    if verdict.verified is False:
        print(f"tsfm: {name}: {verdict.text}", file=sys.stderr)
    else:
        print(f"{name}: {verdict.text}")


def _family(card: Card, args: argparse.Namespace) -> Iterator[Verdict]:
    """Verify the family's weights; an entry of its folder that is no checkpoint is wrong too."""
    root = checkpoints.family_folder(card, settings.read(card.name, {"model_folder": args.folder}).model_folder)
    only = checkpoints.named(card, args.checkpoint, root) if args.checkpoint else None
    for state in checkpoints.state(card, root):
        if state.folder and only in (None, state.checkpoint):
            yield _verify(card, state, state.folder, root)
    for stranger in [] if only else own.unimported(card, root):
        yield Verdict(card.name, "", str(root), False, f"{stranger.what}; {stranger.remedy}")


def _verify(card: Card, state: State, folder: Path, root: Path) -> Verdict:
    name = state.checkpoint.name
    again = state.remedy or checkpoints.remedy(card, state.checkpoint, root)

    def verdict(verified: bool | None, text: str, note: str = "") -> Verdict:
        return Verdict(card.name, name, str(folder), verified, text, note)

    if state.status != "complete":
        is_damaged = "is damaged: " if state.status == "damaged" else ""
        return verdict(False, f"{folder} {is_damaged}{state.detail}; {again}")
    listed = manifest.read(folder)
    if not listed:
        return verdict(None, f"complete in {folder}, but without recorded hashes to compare with")
    try:
        # In a folder of another user, files are read with that user's rights, wherever links lead.
        with (
            safe_path.nearest(folder) as near,
            near.as_owner(),
            near.make() as held,
            progress.showing(state.checkpoint.folder, listed.bytes) as shown,
        ):
            wrong = manifest.differences(held.here, listed, shown.add, folder)
    except TsfmError as error:
        return verdict(False, str(error))
    wrong += pins.differences(state.checkpoint, listed.revision, listed.files)
    note = "" if state.checkpoint.own else pins.standing(state.checkpoint, listed.revision)
    if not wrong:
        return verdict(True, f"{staging.megabytes(state.bytes)} verified in {folder}", note)
    # A hash cannot show whether the disk damaged the file or somebody replaced it on purpose.
    mine = f"if somebody changed it on purpose, keep it: mv {folder} ELSEWHERE; else run: "
    first = f"tsfm remove {card.name} {name}, then {again}" if state.checkpoint.pullable else again
    return verdict(False, f"{folder} is not what was recorded: {'; '.join(wrong)}; {mine}{first}", note)
