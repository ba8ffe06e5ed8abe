"""How many CPU threads the arithmetic of the calling thread uses."""

from __future__ import annotations

import sys


def use(threads: int) -> None:
    """Set the number for the calling thread alone (OpenMP's own rule); without torch there is nothing to set."""
    if torch := sys.modules.get("torch"):
        # The first question or product of a thread takes over the number that any thread has set last: ask now, so
        # that it does not happen after this number is set.
        torch.get_num_threads()
        torch.set_num_threads(threads)
