"""Sets how many CPU threads torch uses for the arithmetic of the calling thread."""

from __future__ import annotations

import sys


def use(threads: int) -> None:
    """Set the number for the calling thread only (the rule of OpenMP). Does nothing if torch is not loaded."""
    if torch := sys.modules.get("torch"):
        # The first query or product of a thread copies the number that any thread set last. Query it now, so that
        # this does not overwrite the number set below.
        torch.get_num_threads()
        torch.set_num_threads(threads)
