"""Try again what a busy hub or a broken line made fail, as long as that makes sense."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from tsfm.weights.http import Busy, Unreachable

# Waits between attempts, until something has arrived, and afresh whenever more has.
WAITS_S = (1.0, 2.0, 4.0)
LATER_WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
PATIENCE_S = 30.0  # with a hub from which nothing has come: a name server that is away takes long to say so
LONGEST_WAIT_S = 60.0  # a hub that asks for more is told to the user instead

log = logging.getLogger(__name__)
T = TypeVar("T")


def patiently(action: Callable[[], T], there: Callable[[], int] = lambda: 0) -> T:
    """Do it until it works, or has failed a few times with nothing new."""
    waits, before, began = list(WAITS_S), there(), time.monotonic()
    anything = False
    while True:
        try:
            return action()
        except (Busy, Unreachable) as error:
            if there() > before:
                before, waits, anything = there(), list(LATER_WAITS_S), True
            asked = getattr(error, "wait_s", None) or 0.0
            silent = isinstance(error, Unreachable) and not anything
            too_long = silent and time.monotonic() - began > PATIENCE_S
            if not waits or too_long or asked > LONGEST_WAIT_S:
                raise
            wait_s = max(asked, waits.pop(0))
            log.warning("%s; trying again in %.0f s", error, wait_s)
            threading.Event().wait(wait_s)
