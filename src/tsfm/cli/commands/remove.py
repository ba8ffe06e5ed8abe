"""Delete weights of a family to free disk space; other checkpoints and other files stay."""

from __future__ import annotations

import argparse

from tsfm import families, settings
from tsfm.errors import ConfigError
from tsfm.weights import checkpoints, safe_path, staging


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("family", metavar="FAMILY", help="one of `tsfm list`")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", help="only this one: a name or an index")
    parser.add_argument("--folder", metavar="D", help="the family's folder, if not that of tsfm.ini")


def run(args: argparse.Namespace) -> int:
    card = families.find(args.family)
    root = checkpoints.family_folder(card, settings.read(card.name, {"model_folder": args.folder}).model_folder)
    only = checkpoints.named(card, args.checkpoint, root) if args.checkpoint else None
    present = [s for s in checkpoints.state(card, root) if s.status != "missing" and only in (None, s.checkpoint)]
    if not present:
        raise ConfigError(f"{root} holds no weights of {only.name if only else card.name}")
    lost = [state.checkpoint.name for state in present if not (state.checkpoint.pullable or only)]
    if lost:
        raise ConfigError(f"{lost[0]} cannot be downloaded again; if you mean it: tsfm remove {card.name} {lost[0]}")
    with safe_path.nearest(root) as near, near.as_owner(), staging.locked(near) as held, staging.plain_errors(root):
        for state in present:
            name = state.checkpoint.name
            freed = staging.remove(held, checkpoints.as_stored(state), flat=state.folder == root)
            print(f"{name}: {staging.megabytes(freed)} freed in {root}")
    return 0
