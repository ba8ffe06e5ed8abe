"""The packages for ARM64, built on another machine: what is in them, and how they run under qemu.

torch's CPU wheel for ARM64 is only on PyTorch's own index, so these packages are built without torch: all but the
networks runs here. The family naive, which needs no torch, is served.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Live
from host import compiled, emulation
from host.conftest import FAMILIES, ROOT, SERIES, WORK, request

from tsfm import official

sys.path.insert(0, str(ROOT / "packaging"))

import interpreter


@pytest.fixture(scope="module")
def repository() -> Path:
    """The folder that `make repo` made for ARM64; with TSFM_HOST_KEEP=1 the one of the last run."""
    folder = WORK / "arm64"
    if os.environ.get("TSFM_HOST_KEEP") != "1":
        subprocess.run(["rm", "-rf", str(folder)], check=True)
        command = ["make", "-s", "repo", f"OUT={folder}", "ARCH=arm64", "WITHOUT_TORCH=1"]
        subprocess.run(command, cwd=ROOT, check=True)
    return folder


@pytest.mark.parametrize(
    ("kind", "unpack"),
    [("deb", 'dpkg-deb --fsys-tarfile "$1" | tar -x'), ("rpm", 'rpm2archive --nocompression - <"$1" | tar -x')],
    ids=["deb", "rpm"],
)
def test_every_compiled_file_is_for_arm64_and_runs_on_the_oldest_system(
    repository: Path, tmp_path: Path, kind: str, unpack: str
) -> None:
    for package in sorted(repository.glob(f"*.{kind}")):
        folder = tmp_path / package.stem
        folder.mkdir()
        subprocess.run(["sh", "-ec", unpack, "sh", str(package)], cwd=folder, check=True)
    assert not list(tmp_path.rglob("*x86_64*"))
    assert compiled.check(tmp_path) > 60


def test_the_packages_have_the_names_that_they_have_on_x86(repository: Path) -> None:
    names = {f"taos-tsfm-{name}" for name in ("python", "runtime", "arrow", "fleet", *FAMILIES)}
    names |= {f"taos-tsfm-{name}-official" for name in official.names()}
    assert {path.name.partition("_")[0] for path in repository.glob("*_arm64.deb")} == names
    assert {"taos-tsfm", "taos-tsfm-all", "taos-tsfm-core"} <= {
        path.name.partition("_")[0] for path in repository.glob("*_all.deb")
    }
    (python,) = repository.glob("taos-tsfm-python_*.deb")
    assert python.stat().st_size <= 13e6
    told = ["rpm", "--query", "--package", "--queryformat", "%{NAME} ", *map(str, repository.glob("*.aarch64.rpm"))]
    assert set(subprocess.check_output(told, text=True).split()) == names


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_apt_takes_its_own_architecture_from_a_repository_of_both(
    repository: Path, repositories: Path, tmp_path: Path, architecture: str
) -> None:
    both = tmp_path / "both"
    both.mkdir()
    for package in (*repository.glob("taos-tsfm-[pc]*.deb"), *repositories.glob("v1/taos-tsfm-python_*.deb")):
        (both / package.name).symlink_to(package)
    subprocess.run(["sh", str(ROOT / "packaging/repo.sh"), str(both)], check=True, capture_output=True)
    (tmp_path / "lists/partial").mkdir(parents=True)
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file:{both} ./\n")
    (tmp_path / "status").touch()
    settings = {"APT::Architecture": architecture, "APT::Architectures": architecture, "APT::Sandbox::User": "root"}
    settings |= {"Dir::Etc::SourceList": tmp_path / "sources.list", "Dir::Etc::SourceParts": "/dev/null"}
    settings |= {"Dir::State::Lists": tmp_path / "lists", "Dir::State::status": tmp_path / "status"}
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in (settings | {"Dir::Cache": tmp_path}).items())]
    subprocess.run([*apt, "update"], check=True)
    told = subprocess.check_output([*apt, "download", "--print-uris", "taos-tsfm-python", "taos-tsfm-core"], text=True)
    named = [line.split()[1].rpartition("_")[2] for line in told.splitlines()]
    assert sorted(named) == ["all.deb", f"{architecture}.deb"]


def test_a_runtime_without_torch_says_so_in_its_description(repository: Path) -> None:
    (deb,) = repository.glob("taos-tsfm-runtime_*_arm64.deb")
    (rpm,) = repository.glob("taos-tsfm-runtime-*.aarch64.rpm")
    told = subprocess.check_output(["dpkg-deb", "--field", str(deb), "Description"], text=True)
    assert "INCOMPLETE: without torch" in told
    told = subprocess.check_output(["rpm", "--query", "--package", "--queryformat", "%{SUMMARY}", str(rpm)], text=True)
    assert "INCOMPLETE: without torch" in told


@pytest.mark.parametrize("kind", ["deb", "rpm"])
def test_a_runtime_without_torch_is_not_signed(repository: Path, tmp_path: Path, kind: str) -> None:
    (package,) = repository.glob(f"taos-tsfm-runtime*64.{kind}")
    (tmp_path / package.name).symlink_to(package)
    sign = ["make", "-s", "-o", "deb", "-o", "rpm", "repo", f"OUT={tmp_path}", "SIGN_KEY=packages@example.com"]
    refused = subprocess.run(sign, cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "INCOMPLETE: without torch" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == [package.name], "nothing was indexed"


# What configure finds out by running programs, it must be told for another architecture: nothing of it may get lost.
FACTS = """
import errno, fcntl, hashlib, locale, math, mmap, os, resource, select, signal, socket, ssl, sys, time
for module in (errno, fcntl, locale, math, mmap, os, resource, select, signal, socket, ssl, sys, time):
    print(*(f"{module.__name__}.{name}" for name in sorted(dir(module))), sep="\\n")
print(sys.hash_info, sys.float_info, sys.thread_info.lock, sys.version_info, ssl.OPENSSL_VERSION)
print(sorted(sys.builtin_module_names), sorted(hashlib.algorithms_available))
"""
PYTHON = f"{interpreter.PREFIX}/{interpreter.PROGRAM}"
# CPython's own tests of arithmetic and hashes: a compiler brings functions that libc has as well, and not as good.
TESTED = ("test_math", "test_float", "test_struct", "test_time", "test_hashlib")
SCRIPT = f"""
exec 2>&1
set -e
apt-get -q update && apt-get -q -y install taos-tsfm
dpkg --audit
test ! -e /usr/bin/python3
mkdir /srv/said
tsfm --version >/srv/said/version
tsfm list --json >/srv/said/list
tsfm doctor --json >/srv/said/doctor || true
tsfm forecast /srv/series.csv --family fracast >/srv/said/fracast 2>&1 || echo "exit $?" >>/srv/said/fracast
{PYTHON} /srv/facts.py >/srv/said/facts
{PYTHON} -B -m test --timeout 600 {" ".join(TESTED)} >/srv/said/tests 2>&1 || true
# naive has no package: the runtime's interpreter runs it, as if nothing else were installed.
TSFM_ROOT=/srv/none /usr/lib/taos-tsfm/runtime/bin/python -IBu /usr/bin/tsfm serve naive &
service=$!
curl -fsS --retry 120 --retry-delay 1 --retry-all-errors http://127.0.0.1:6099/readyz
curl -fsS http://127.0.0.1:6099/ds_predict --data-binary @/srv/request.json >/srv/said/answer
tsfm forecast /srv/series.csv --family naive --horizon 24 >/srv/said/forecast
kill $service && wait $service
"""


@pytest.fixture(scope="module")
def said(repository: Path) -> Iterator[Path]:
    """What the commands printed in an ARM64 root after the installation by name, one file each."""
    with emulation.copy() as root:
        (root / "etc/apt/sources.list.d").mkdir(exist_ok=True)
        (root / "etc/apt/sources.list.d/tsfm.list").write_text("deb [trusted=yes] file:/srv/repository ./\n")
        (root / "srv/series.csv").write_bytes(SERIES.read_bytes())
        (root / "srv/facts.py").write_text(FACTS)
        library = f"{interpreter.PREFIX}/lib/python3.11"
        shutil.copytree(interpreter.own_tests("aarch64"), root / library.lstrip("/"))
        (root / "srv/request.json").write_text(json.dumps(request("forecast")))
        done = emulation.run(root, SCRIPT, f"--bind-ro={repository}:/srv/repository")
        assert done.returncode == 0, done.stdout
        yield root / "srv/said"


def test_the_packages_install_by_name_and_the_command_runs(said: Path) -> None:
    assert (said / "version").read_text().startswith("tsfm ")
    families = {row["name"]: row["installed"] for row in json.loads((said / "list").read_text())}
    assert {name for name, installed in families.items() if installed} == {"fracast", "tdtsfm", "timemoe"}


def test_the_interpreter_has_all_that_it_has_on_the_other_architecture(said: Path) -> None:
    program = interpreter.tree("x86_64") / interpreter.PROGRAM
    here = subprocess.check_output([str(program), "-c", FACTS], text=True)
    assert (said / "facts").read_text().splitlines() == here.splitlines()


def test_cpythons_own_tests_pass(said: Path) -> None:
    told = (said / "tests").read_text()
    assert f"All {len(TESTED)} tests OK." in told, told


def test_the_doctor_finds_nothing_broken_but_the_torch_that_was_left_out(said: Path) -> None:
    broken = [row for row in json.loads((said / "doctor").read_text()) if row["level"] == "broken"]
    assert [(row["about"], row["text"]) for row in broken] == [
        ("torch", "does not run: ModuleNotFoundError: No module named 'torch'")
    ]


def test_a_family_that_needs_torch_names_it(said: Path) -> None:
    told = (said / "fracast").read_text()
    assert "its environment is incomplete (No module named 'torch')" in told
    assert told.endswith("exit 1\n")


def test_a_service_gives_the_numbers_of_the_other_architecture(said: Path, serve: Callable[..., Live]) -> None:
    live = serve("naive").until_ready()
    here = live.post("/ds_predict", request("forecast")).json
    there = json.loads((said / "answer").read_text())
    assert here.keys() == there.keys()
    for field in ("output", "lower", "upper"):
        assert there[field] == pytest.approx(here[field], rel=1e-5)


def test_the_command_prints_the_forecast_of_the_other_architecture(said: Path) -> None:
    command = [sys.executable, "-m", "tsfm", "forecast", str(SERIES), "--family", "naive", "--horizon", "24"]
    here = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (said / "forecast").read_text() == here.stdout
