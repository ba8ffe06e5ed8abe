"""Maps torch's large library while the rest of the service is imported and bound.

``import torch`` would map it while it holds the interpreter lock: for half a second no request could be answered,
and the database allows 100 ms for a status probe.
"""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
import threading
from pathlib import Path

log = logging.getLogger(__name__)
# The library reads these when it is mapped, so they are set before. Values from the environment win.
TORCH = {
    # By default threads that wait for work spin for milliseconds, on CPUs that are needed to read and answer requests.
    "GOMP_SPINCOUNT": "1000",
    # Two caches of products prepared for each shape: torch's ideep has one in each thread, oneDNN has another. With
    # 1,024 entries each they need half a GiB after some hundred requests of different lengths. An entry that only
    # ideep has dropped is made again in 10 µs.
    "LRU_CACHE_CAPACITY": "8",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
}


_thread: threading.Thread | None = None


def begin() -> None:
    """Map it on a separate thread; without torch nothing happens."""
    global _thread
    for name, value in TORCH.items():
        os.environ.setdefault(name, value)
    _thread = threading.Thread(target=_map, name="preload", daemon=True)
    _thread.start()


def finish() -> None:
    """Wait for it, if it was started: an import would wait as well, but would hold the interpreter lock."""
    if _thread:
        _thread.join()


def _map() -> None:
    found = importlib.util.find_spec("torch")
    if not found or not found.submodule_search_locations:
        return
    library = Path(found.submodule_search_locations[0]) / "lib" / "libtorch_cpu.so"
    # Not ctypes.CDLL(library), which holds the interpreter lock while it maps; a call of a C function releases it.
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.restype = ctypes.c_void_p
    if not dlopen(os.fsencode(library), os.RTLD_LAZY):
        log.debug("%s could not be mapped ahead", library)  # the import will say why
