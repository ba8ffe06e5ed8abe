"""`tsfm batch --fleet` on a real Ray of this machine: the numbers of one host, and what happens when something ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from conftest import free_port
from fleet.environment import PYTHON, needs_ray
from fleet.jobs import long_table, tsfm
from fleet.lab import until

pytestmark = [pytest.mark.long, needs_ray]
CPUS = 2
# Books a CPU or all of them until its stdin is closed.
BOOK = """
import ray, sys
ray.init(address="auto", log_to_driver=False)
class Booked:
    def there(self): return True
actors = [ray.remote(num_cpus=1)(Booked).remote() for _ in range(int(sys.argv[1]))]
ray.get([actor.there.remote() for actor in actors])
print("booked", flush=True)
sys.stdin.read()
"""


class Cluster:
    """Ray with ``CPUS`` CPUs, whose processes read the settings of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, port = folder, free_port()
        self.ini = folder / "tsfm.ini"
        self.env = {"RAY_ADDRESS": f"127.0.0.1:{port}", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": "ignore"}
        # Its sockets' names must be short, so it is not below the test's folder.
        self._sessions = tempfile.TemporaryDirectory(prefix="ray")
        words = ["-m", "ray.scripts.scripts", "start", "--head", "--block", "--node-ip-address", "127.0.0.1"]
        words += ["--port", str(port), "--num-cpus", str(CPUS), "--object-store-memory", "80000000"]
        words += ["--include-dashboard", "false", "--temp-dir", self._sessions.name, "--disable-usage-stats"]
        words += ["--ray-client-server-port", str(free_port()), "--dashboard-agent-listen-port", str(free_port())]
        environment = os.environ | {"TSFM_INI": str(self.ini), "RAY_worker_niceness": "0"}
        with (folder / "ray.log").open("wb") as log:
            self._process = subprocess.Popen([PYTHON, *words], env=environment, stdout=log, stderr=log)
        until(self._up)

    def _up(self) -> bool:
        assert self._process.poll() is None, (self._folder / "ray.log").read_text()
        return "--block" in (self._folder / "ray.log").read_text()

    def settings(self, text: str = "", **trouble: float) -> None:
        """For models that are loaded from now on."""
        (self._folder / "naive.json").write_text(json.dumps(trouble))
        self.ini.write_text(f"[naive]\nmodel_folder = {self._folder}\n{text}")

    def batch(self, *words: object, wait: bool = True):
        return tsfm("batch", *words, "--fleet", wait=wait, python=PYTHON, env=self.env)

    def actors(self) -> list[int]:
        """The processes that work on a job, of this cluster alone."""
        found = subprocess.run(["pgrep", "--full", "ray::Remote"], capture_output=True, text=True).stdout.split()
        mine = str(self.ini).encode()
        return [int(pid) for pid in found if mine in Path(f"/proc/{pid}/environ").read_bytes()]

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)
        self._sessions.cleanup()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.stop()


def test_the_numbers_are_those_of_one_host_although_its_actors_book_every_cpu(cluster: Cluster, tmp_path: Path) -> None:
    cluster.settings()
    long_table(600, 64).to_parquet(tmp_path / "in.parquet")
    words = ("--family", "fracast", "--horizon", 5)
    alone = tsfm("batch", tmp_path / "in.parquet", tmp_path / "alone.parquet", *words, "--processes", CPUS)
    assert alone.returncode == 0, alone.stderr
    done = cluster.batch(tmp_path / "in.parquet", tmp_path / "out.parquet", *words)
    assert done.returncode == 0, done.stderr
    assert "600 series, 0 without a forecast" in done.stderr
    ours, theirs = (pd.read_parquet(tmp_path / name) for name in ("out.parquet", "alone.parquet"))
    pd.testing.assert_frame_equal(ours, theirs)
    assert not (tmp_path / "out.parquet.parts").exists()


def test_an_interrupted_job_goes_on_there_or_on_one_host(cluster: Cluster, tmp_path: Path) -> None:
    cluster.settings(delay_s=0.3)
    long_table(1300).to_parquet(tmp_path / "in.parquet")
    words = (tmp_path / "in.parquet", tmp_path / "out.parquet", "--family", "naive")
    job = cluster.batch(*words, wait=False)
    until(lambda: len(list((tmp_path / "out.parquet.parts").glob("*.parquet"))) >= 2)
    job.kill()
    job.communicate(timeout=60)
    until(lambda: not cluster.actors())
    again = tsfm("batch", *words, "--processes", 1)
    assert again.returncode == 0, again.stderr
    assert "portions kept from before" in again.stderr
    assert len(pd.read_parquet(words[1]).item_id.unique()) == 1300


def test_what_an_ended_process_worked_on_goes_to_another_one(cluster: Cluster, tmp_path: Path) -> None:
    cluster.settings(delay_s=0.5)
    long_table(1300).to_parquet(tmp_path / "in.parquet")
    job = cluster.batch(tmp_path / "in.parquet", tmp_path / "out.parquet", "--family", "naive", wait=False)
    until(lambda: len(list((tmp_path / "out.parquet.parts").glob("*.parquet"))) >= 1)
    os.kill(cluster.actors()[0], signal.SIGKILL)
    _, said = job.communicate(timeout=120)
    assert job.returncode == 0, said
    assert "a process of the fleet has ended; 1 go on" in said
    assert "1300 series, 0 without a forecast" in said


def test_when_all_processes_end_it_ends_too_and_says_how_to_go_on(cluster: Cluster, tmp_path: Path) -> None:
    cluster.settings(kill_above=3)
    table = long_table(20)
    table.loc[table.index % 48 == 47, "target"] = 1e6  # a last value for which the model crashes its process
    table.to_parquet(tmp_path / "in.parquet")
    done = cluster.batch(tmp_path / "in.parquet", tmp_path / "out.parquet", "--family", "naive")
    assert done.returncode == 1, done.stderr
    assert "two processes have ended with the same series" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_cannot_be_done_is_said_in_a_sentence(cluster: Cluster, tmp_path: Path) -> None:
    cluster.settings("[chronos]\nmodel_folder = /nonexistent\n")
    long_table(20).to_parquet(tmp_path / "in.parquet")
    words = (tmp_path / "in.parquet", tmp_path / "out.parquet", "--family")
    wrong = cluster.batch(*words, "naive", "--freq", "fortnight")
    assert "freq: expected" in wrong.stderr
    without = cluster.batch(*words, "chronos")
    assert re.search(r"2 of 2 processes cannot be used: [\d.]+: weights of amazon/chronos-bolt-tiny: ", without.stderr)
    booked = subprocess.Popen(
        [PYTHON, "-c", BOOK, str(CPUS)], env=os.environ | cluster.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert booked.stdout.readline() == b"booked\n"
    full = cluster.batch(*words, "naive")
    booked.communicate(timeout=60)
    nowhere = tsfm("batch", *words, "naive", "--fleet", python=PYTHON, env=cluster.env | {"RAY_ADDRESS": "127.0.0.1:9"})
    for one in (wrong, without, full, nowhere):
        assert one.returncode == 1, one.stderr
        assert "Traceback" not in one.stderr
    assert "all 2 CPUs of the fleet are booked" in full.stderr
    assert "this host is in no fleet that runs" in nowhere.stderr
