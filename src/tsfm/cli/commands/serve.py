"""Serve one model family over HTTP until shown to stop."""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tsfm import families, official, paths, settings
from tsfm.card import Card
from tsfm.errors import ConfigError, TryLater
from tsfm.system import handover, systemd
from tsfm.weights import checkpoints

PATIENCE_S = 30
OPTIONS = {
    "host": "H",
    "port": "N",
    "model_folder": "D",
    "checkpoint": "M",
    "engine": "E",
    "device": "D",
    "threads": "N",
    "dtype": "T",
    "log_level": "L",
}


def flag(name: str) -> str:
    """The option that sets the setting ``name``."""
    return "--model-name" if name == "checkpoint" else "--" + name.replace("_", "-")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    # In a container, the environment is where one says what a service is.
    named = os.environ.get("TSFM_FAMILY")
    words = "one of `tsfm list`; without it the one that TSFM_FAMILY names"
    parser.add_argument("family", metavar="FAMILY", nargs="?" if named else None, default=named, help=words)
    for name, metavar in OPTIONS.items():
        also = ["--checkpoint"] if name == "checkpoint" else []
        parser.add_argument(flag(name), *also, dest=name, metavar=metavar, help=settings.KEYS[name].meaning)
    parser.add_argument(
        "--download",
        choices=("no", "hub", "mirror"),
        default="no",
        help="download missing weights first; the unit leaves that to tsfm-pull@FAMILY",
    )


def run(args: argparse.Namespace) -> int:
    card = families.find(args.family)
    chosen = settings.read(card.name, {name: getattr(args, name) for name in OPTIONS})
    if chosen.engine == "official":
        official.check(card.name)
    _patiently(lambda: enter_environment(card.name, chosen.engine, args.words))
    if args.download == "no":
        _patiently(lambda: checkpoints.resolve(card, chosen.model_folder, chosen.checkpoint))
    # If the watchdog or a native library ends the process, the journal gets the stack of every thread.
    faulthandler.enable()
    if card.packaged:
        from tsfm.system import preload

        preload.begin()
    try:
        return _serve(card, chosen, args.download)
    except TryLater as reason:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # its handler belonged to the server, which has ended
        systemd.notify(f"STATUS=waiting: {reason}")
        time.sleep(_patience_s())
        raise


def _serve(card: Card, chosen: settings.Settings, download: str) -> int:
    # Imported here, because flask, waitress and numpy exist only in the family's environment.
    try:
        from tsfm import logs
        from tsfm.http import server
    except ImportError as error:
        raise families.lacking(card.name, chosen.engine, error) from error

    logs.set_up(chosen.log_level)
    if download != "no":
        from tsfm.weights import download as download_

        download_.ensure(card, chosen.model_folder, chosen.checkpoint, download == "mirror")
    return server.serve(card, chosen)


def _patiently(step: Callable[[], object]) -> None:
    """Do the step; after TryLater repeat it each second until the patience ends."""
    end, shown = time.monotonic() + _patience_s(), ""
    while True:
        try:
            step()
            return
        except TryLater as reason:
            if time.monotonic() >= end:
                raise
            if shown != str(reason):
                shown = str(reason)
                systemd.notify(f"STATUS=waiting: {shown}")
            time.sleep(1)  # there is no event for a folder that another process fills


def _patience_s() -> int:
    """Seconds to wait before the process ends and systemd starts the download and the service again.

    systemd has one pause between restarts for all causes, and a crashed service must be back soon. So a service that
    waits for weights or packages makes its pause here. A person at a terminal gets the error at once.
    """
    return PATIENCE_S if "NOTIFY_SOCKET" in os.environ else 0


def enter_environment(family: str, engine: str, words: Sequence[str]) -> None:
    """Continue in the family's environment for the engine, if it is installed and this process runs in another one."""
    python, package = paths.venv_python(family, engine), paths.package(family, engine)
    if python is None and paths.is_there(family, engine):
        raise TryLater(
            f"the environment of {family} is incomplete: its packages are being installed; "
            f"if nothing installs them, reinstall taos-tsfm-runtime and {package}"
        )
    if python is None and Path(__file__).is_relative_to(paths.LIB):
        if engine == "official":
            raise ConfigError(f"engine: official needs the package {package}; install it, or set engine = native")
        raise ConfigError(f"family {family} is not installed here; install {package}")
    if python:
        handover.enter(python, words)
