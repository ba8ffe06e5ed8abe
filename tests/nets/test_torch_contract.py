"""What the service relies on in torch beyond its documentation, by the file that relies on it.

The private operators of nets/product.py have a fall-back, tested in test_product.py; nothing else here has one. When
a test fails, read the file that its sentence names again before you change the pin of torch.
"""

import ctypes
import mmap
import os
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import HERE

from tsfm.engine.work import WorkItem, run_batch
from tsfm.errors import OutOfMemory
from tsfm.series import Series
from tsfm.system import preload

pytestmark = pytest.mark.slow

WRITTEN_FOR = "2.13.0"
LIBRARIES = Path(find_spec("torch").submodule_search_locations[0]) / "lib"


def again(file: str) -> str:
    return f"read src/tsfm/{file} again: it was written for torch {WRITTEN_FOR}"


def test_torch_is_the_version_that_the_code_was_written_for():
    installed = torch.__version__.partition("+")[0]
    assert installed == WRITTEN_FOR, (
        f"torch is {installed}: read src/tsfm/nets/product.py, nets/threads.py, engine/work.py and "
        "system/preload.py again, then set WRITTEN_FOR here"
    )


def test_the_number_of_threads_is_the_calling_threads_own():
    """nets/threads.py and nets/parallel.py: a batch beside another one uses fewer CPUs, without touching it."""
    before, other = torch.get_num_threads(), []

    def in_another_thread():
        torch.set_num_threads(before + 1)
        other.append(torch.get_num_threads())

    thread = threading.Thread(target=in_another_thread)
    thread.start()
    thread.join(30)
    assert other == [before + 1]
    assert torch.get_num_threads() == before, again("nets/threads.py")


@pytest.mark.parametrize("asks_first", [False, True])
def test_a_thread_takes_over_anothers_number_at_its_first_question(asks_first):
    """nets/threads.py and nets/parallel.py ask before they set: a number that is set first would be lost."""
    ask = "torch.get_num_threads()\n" if asks_first else ""
    code = (
        f"import threading, torch\n{ask}"
        "torch.set_num_threads(3)\n"
        "thread = threading.Thread(target=torch.set_num_threads, args=[1]); thread.start(); thread.join()\n"
        "print(torch.get_num_threads())\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert int(ended.stdout) == (3 if asks_first else 1), again("nets/threads.py")


def test_the_number_that_is_set_for_a_batch_holds_whatever_another_thread_sets():
    code = (
        "import threading, torch\nfrom tsfm.nets import threads\n"
        "threads.use(3)\n"
        "thread = threading.Thread(target=threads.use, args=[1]); thread.start(); thread.join()\n"
        "print(torch.get_num_threads())\n"
    )
    environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src")}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert int(ended.stdout) == 3


def test_a_failed_allocation_is_told_by_its_text_alone():
    """engine/work.py answers 507 to it, and 500 to every other RuntimeError."""

    class Allocates:
        def run(self, batch):
            torch.empty(1 << 60)

    item = WorkItem(Series(np.zeros(3)), Allocates())
    run_batch([item])
    error = item.future.exception(1)
    assert type(error.__cause__) is RuntimeError
    assert isinstance(error, OutOfMemory), f"torch says {str(error.__cause__)!r}: {again('engine/work.py')}"


def test_the_large_library_is_where_it_is_mapped_from():
    """system/preload.py: a wrong path costs half a second in which nobody is answered, and no error."""
    library = LIBRARIES / "libtorch_cpu.so"
    assert library.exists(), again("system/preload.py")
    code = "from tsfm.system import preload; preload.begin(); preload.finish(); print(open('/proc/self/maps').read())"
    environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src")}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert str(library.resolve()) in ended.stdout, again("system/preload.py")


@pytest.mark.parametrize("name", preload.TORCH)
def test_the_libraries_read_each_variable_that_is_set_for_them(name):
    """system/preload.py, TORCH: a renamed variable would be ignored without a word."""
    # oneDNN puts its prefix before each name.
    found = [library for library in LIBRARIES.glob("lib*.so*") if holds(library, name.removeprefix("ONEDNN_").encode())]
    assert found, f"no library of torch has the name {name}: {again('system/preload.py')}"


def test_mapping_ahead_leaves_the_import_nothing_to_map():
    """system/preload.py: the library that is mapped by its path is the one that ``import torch`` uses."""
    handle = ctypes.CDLL(str(LIBRARIES / "libtorch_cpu.so"), mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    assert handle._handle


def holds(library: Path, name: bytes) -> bool:
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(name) >= 0
