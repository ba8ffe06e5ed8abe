"""Download a family's weights from the hub, checked, going on where a download was broken off."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from tsfm import checkpoints, families, handover, install, logs, settings
from tsfm.errors import ConfigError
from tsfm.store import bring, hub, place

EPILOG = """
Without CHECKPOINT it is the one named in tsfm.ini, else any that is there already, else the first
of `tsfm list`. HF_ENDPOINT in the environment is an address to use instead of the hub's, HF_TOKEN
lets in where a checkpoint needs that, HTTPS_PROXY leads through a proxy.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("family", metavar="FAMILY", help="one of `tsfm list`")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", help="a name or an index of `tsfm list`")
    parser.add_argument("--mirror", action="store_true", help=f"download from {settings.MIRROR}, or tsfm.ini's mirror")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--folder", metavar="D", help="the family's folder, if not that of tsfm.ini")
    where.add_argument("--to", metavar="DIR", type=Path, help="a folder, or file.tar, to carry to `tsfm import`")


def run(args: argparse.Namespace) -> int:
    card = families.find(args.family)
    chosen = settings.read(card.name, {"model_folder": args.folder, "checkpoint": args.checkpoint})
    if not card.checkpoints:
        print(f"{card.name}: its weights come with its package")
        return 0
    if not args.to and (folder := checkpoints.find(card, chosen.model_folder, chosen.checkpoint)):
        print(f"{card.name}: weights are complete in {folder}")
        return 0
    checkpoint = bring.wanted(card, chosen.checkpoint)
    root = checkpoints.family_folder(card, chosen.model_folder)
    if not checkpoint.pullable:
        raise ConfigError(f"weights of {checkpoint.name}: {checkpoints.remedy(card, checkpoint, root)}")
    if not args.to:
        place.step_down(root)
    _enter_environment(args.words)
    logs.set_up(chosen.log_level)
    address = hub.endpoint(args.mirror, chosen.mirror)
    if args.to:
        there = bring.export(card, checkpoint, args.to, address)
        print(f"{checkpoint.name}: complete in {there}; on the other machine: tsfm import {args.to}")
    else:
        print(f"{checkpoint.name}: complete in {bring.pull(card, checkpoint, root, address)}")
    return 0


def _enter_environment(words: Sequence[str]) -> None:
    """Go on in the runtime, which brings the hub's client, where this Python has none."""
    if importlib.util.find_spec("huggingface_hub"):
        return
    python = install.RUNTIME / "bin" / "python"
    if not python.exists():
        raise ConfigError("huggingface_hub, the hub's client, is not installed; install taos-tsfm-runtime")
    handover.enter(python, words)
    raise ConfigError(f"{install.RUNTIME} lacks huggingface_hub, the hub's client; reinstall taos-tsfm-runtime")
