"""Map torch's big library while the rest of the service is imported and bound.

``import torch`` would do it with the interpreter held: for half a second nobody could be answered,
and the database gives a status probe 100 ms.
"""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
import threading
from pathlib import Path

log = logging.getLogger(__name__)
# Read when the library is mapped, so set before; what the environment says already stays.
TORCH = {
    # Threads that wait for their next piece of work spin for milliseconds by default, on CPUs that requests need to
    # be read and answered.
    "GOMP_SPINCOUNT": "1000",
    # Products prepared for each shape that came, kept twice (by torch's ideep in each thread, and by oneDNN): at 1,024
    # each, half a GiB after some hundred requests of all lengths. What only ideep has lost takes 10 µs to make again.
    "LRU_CACHE_CAPACITY": "8",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
}


_thread: threading.Thread | None = None


def begin() -> None:
    """Map it on a thread of its own; where there is no torch, nothing happens."""
    global _thread
    for name, value in TORCH.items():
        os.environ.setdefault(name, value)
    _thread = threading.Thread(target=_map, name="preload", daemon=True)
    _thread.start()


def finish() -> None:
    """Wait for it, if it ever began: an import meanwhile would wait too, but with the interpreter held."""
    if _thread:
        _thread.join()


def _map() -> None:
    found = importlib.util.find_spec("torch")
    if not found or not found.submodule_search_locations:
        return
    library = Path(found.submodule_search_locations[0]) / "lib" / "libtorch_cpu.so"
    # Not ctypes.CDLL(library), which maps with the interpreter held: a call of a C function lets go of it.
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.restype = ctypes.c_void_p
    if not dlopen(os.fsencode(library), os.RTLD_LAZY):
        log.debug("%s could not be mapped ahead", library)  # the import will say why
