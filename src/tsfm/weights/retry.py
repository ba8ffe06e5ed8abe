"""Retry what failed because the hub is busy or the connection broke."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from tsfm.weights.http import Busy, Unreachable

# Waits between attempts: the first list until bytes have arrived, then the second, restarted after progress.
WAITS_S = (1.0, 2.0, 4.0)
LATER_WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
GIVE_UP_S = 30.0  # in total, while no byte has arrived: an unreachable name server takes long to fail
LONGEST_WAIT_S = 60.0  # a hub that asks for a longer wait is reported to the user

log = logging.getLogger(__name__)
T = TypeVar("T")


def call(action: Callable[[], T], received: Callable[[], int] = lambda: 0) -> T:
    """Call ``action`` until it succeeds or fails several times without progress; ``received`` counts bytes."""
    waits, before, began = list(WAITS_S), received(), time.monotonic()
    progressed = False
    while True:
        try:
            return action()
        except (Busy, Unreachable) as error:
            if received() > before:
                before, waits, progressed = received(), list(LATER_WAITS_S), True
            requested_s = getattr(error, "wait_s", None) or 0.0
            silent = isinstance(error, Unreachable) and not progressed
            too_long = silent and time.monotonic() - began > GIVE_UP_S
            if not waits or too_long or requested_s > LONGEST_WAIT_S:
                raise
            wait_s = max(requested_s, waits.pop(0))
            log.warning("%s; trying again in %.0f s", error, wait_s)
            threading.Event().wait(wait_s)
