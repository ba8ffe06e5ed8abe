"""Requests that would not fit are refused before they run."""

import numpy as np
import pytest

from tsfm import card, settings
from tsfm.engine import memory
from tsfm.engine.engine import Engine
from tsfm.errors import OutOfMemory
from tsfm.families import naive
from tsfm.series import Runtime, Series


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host of 1 GiB whose unit is three levels deep."""
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "cgroup")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 2097152 kB\nMemAvailable: 1048576 kB\n")
    (tmp_path / "proc/self/cgroup").write_text("0::/system.slice/tsfm@x.service\n")
    (tmp_path / "cgroup/system.slice/tsfm@x.service").mkdir(parents=True)
    return tmp_path


def limit(folder, most, used, inactive_file=0):
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 4096\nfile 8192\ninactive_file {inactive_file}\nactive_file 4096\n")


def test_what_is_left_is_the_hosts_or_the_tightest_limit_above_the_unit(host):
    assert memory.available() == 1 << 30
    limit(host / "cgroup/system.slice/tsfm@x.service", "max", 5)
    assert memory.available() == 1 << 30
    limit(host / "cgroup/system.slice", 300 << 20, 100 << 20)
    assert memory.available() == 200 << 20


def test_page_cache_that_the_kernel_can_drop_is_not_used_memory(host):
    """Weights are mapped files: under MemoryMax= they fill what the process does not use."""
    unit = host / "cgroup/system.slice/tsfm@x.service"
    limit(unit, 600 << 20, 599 << 20, inactive_file=400 << 20)
    assert memory.available() == 401 << 20
    memory.check_fits(Series(np.zeros(4096), np.zeros((4, 4096))))
    limit(host / "cgroup/system.slice", 600 << 20, 500 << 20, inactive_file=20 << 20)
    assert memory.available() == 120 << 20
    limit(unit, 600 << 20, 100 << 20, inactive_file=101 << 20)  # both are read one after the other
    assert memory.available() == 120 << 20


def test_a_series_that_would_not_fit_is_refused_with_its_size_and_the_estimate(host):
    series = Series(np.zeros(8000), np.zeros((64, 8000)))
    with pytest.raises(OutOfMemory, match=r"8000 points and 64 covariates needs about 29.. MiB, and 1024 MiB are left"):
        memory.check_fits(series)
    memory.check_fits(Series(np.zeros(8000)))


class Small(naive.Naive):
    batch_points = 1000


def test_only_a_series_larger_than_a_full_batch_may_be_refused(host):
    limit(host / "cgroup/system.slice", 1, 1)
    engine = Engine(card.read("naive"), settings.read("naive", {}))
    engine.start(Small({}), None, Runtime())
    fits, too_large = (engine.steps.read({"input": list(range(points))}, engine.limits) for points in (1000, 1001))
    with engine.admit(1) as slot:
        assert len(slot.hold(engine.submit(fits, slot)).get().forecast.median) == 10
    with pytest.raises(OutOfMemory, match="one series of 1001 points"), engine.admit(1) as slot:
        engine.submit(too_large, slot)
    many = {"inputs": [{"target": list(range(points))} for points in (1000, 1001)]}
    steps = engine.task.operations["forecast"].steps()
    with engine.admit(1) as slot:
        one, other = slot.hold(engine.answer(many, slot, steps)).get()["predictions"]
    assert len(one["mean"]) == 1
    assert other["error"].startswith("one series of 1001 points")
    assert engine.wait_until_empty(10)
    engine.close()


def test_the_host_that_runs_this_has_memory_left():
    assert memory.available() > 1 << 20


def test_what_the_allocator_holds_without_need_goes_back_to_the_host_once_in_a_while(monkeypatch):
    now, trims, given = [100.0], [], []
    monkeypatch.setattr(memory.time, "monotonic", lambda: now[0])
    trim = memory.HeapTrimmer()
    monkeypatch.setattr(trim, "_trim", trims.append)
    for moment in (100.0, 100.5, 100.0 + memory.EVERY_S, 100.2 + memory.EVERY_S):
        now[0] = moment
        given.append(trim())
    assert trims == [0, 0]
    assert given == [None, pytest.approx(memory.EVERY_S - 0.5), None, pytest.approx(memory.EVERY_S - 0.2)]
