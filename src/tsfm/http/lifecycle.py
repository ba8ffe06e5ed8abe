"""Load the model of a process and drain it at the end. All servers share these steps."""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from pathlib import Path

from tsfm import families, official
from tsfm.card import Card
from tsfm.engine.engine import Engine
from tsfm.errors import ConfigError, OtherModel, TsfmError
from tsfm.series import Model, Runtime
from tsfm.settings import Settings
from tsfm.system import devices, preload

log = logging.getLogger(__name__)
# Time limits of the drain, in seconds. With the server's own limit their sum is below the unit's TimeoutStopSec=30.
DRAIN_S = 18  # for the accepted requests
CLOSE_S = 3  # after that, for all inference threads together
# Python takes the interpreter from a thread that another one waits for after this time; by itself only after 5 ms, and
# an answer may wait for it several times.
SWITCH_S = 0.0005
# New objects until the youngest are searched for garbage, searches until the older ones are searched too, and all;
# Python's own numbers are 700, 10, 10. Requests leave next to nothing to find, and nobody is answered meanwhile: for 5
# to 50 ms if everything is searched.
GC_THRESHOLD = 2_000, 10, 100


def load(engine: Engine, card: Card, settings: Settings, folder: Path | None) -> None:
    """Load the model and answer one request with it. This takes seconds, so call it on its own thread.

    Args:
        folder: the folder with the weights; None: the family's package contains them.

    Raises:
        TsfmError: the model could not be loaded; one sentence gives the cause.
    """
    threads = settings.threads or len(os.sched_getaffinity(0))
    sys.setswitchinterval(SWITCH_S)
    gc.set_threshold(*GC_THRESHOLD)
    try:
        preload.finish()
        devices.check(settings.device, settings.sources["device"])
        runtime, began = Runtime(settings.device, settings.dtype, threads), time.monotonic()
        model = _model(card, folder, runtime, settings.engine)
        engine.start(model, folder, runtime)
        log.info("ready after %.1f s: %s", time.monotonic() - began, engine.summary())
    except TsfmError:
        raise
    except BaseException as error:  # a model package may call sys.exit
        log.error("%s could not be loaded", card.name, exc_info=error)
        raise TsfmError(f"{card.name} could not be loaded: {type(error).__name__}: {error}") from error


def _model(card: Card, folder: Path | None, runtime: Runtime, engine: str) -> Model:
    """The loaded model.

    Raises:
        ConfigError: if our network does not compute the checkpoint, it says whether the maker's package does.
    """
    try:
        return families.load(card.name, folder, runtime, engine)
    except OtherModel as error:
        way_out = official.way_out(card.name, folder) if folder else ""
        raise ConfigError(f"{error}; {way_out}" if way_out else str(error)) from error


def drain(engine: Engine) -> bool:
    """Reject new requests, answer the accepted ones and end the inference threads; False: some were still running."""
    engine.stop_accepting()
    empty = engine.wait_until_empty(DRAIN_S)
    engine.close(CLOSE_S)
    if not empty:
        log.warning("requests were still running after %d s", DRAIN_S)
    return empty
