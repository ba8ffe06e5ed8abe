"""What the packages contain and require: they run on the oldest system promised, and hold what was published."""

from __future__ import annotations

import base64
import csv
import hashlib
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from host import compiled
from host.conftest import ROOT

sys.path.insert(0, str(ROOT / "packaging"))

import venvs

from tsfm.nets import int8_kernel

PACKAGES = venvs.PACKAGES.as_posix()


@pytest.fixture(scope="module")
def unpacked(repositories: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each deb, with its files."""
    folder = tmp_path_factory.mktemp("unpacked")
    for package in sorted((repositories / "v1").glob("*.deb")):
        subprocess.run(["dpkg-deb", "--extract", str(package), str(folder / package.stem)], check=True)
    return folder


def test_every_program_and_library_runs_on_the_oldest_system_that_is_promised(unpacked: Path) -> None:
    assert compiled.check(unpacked) > 50


def test_no_package_asks_for_a_distributions_python_or_a_new_package_manager(repositories: Path) -> None:
    debs, rpms = (sorted((repositories / "v1").glob(f"*.{kind}")) for kind in ("deb", "rpm"))
    assert len(debs) == len(rpms) > 10
    for package in debs:
        needs = subprocess.check_output(["dpkg-deb", "--field", str(package), "Pre-Depends", "Depends"], text=True)
        assert not re.search(r"(?<!tsfm-)python", needs), package.name
        members = subprocess.check_output(["ar", "t", str(package)], text=True).split()
        # dpkg of Debian 11, UOS 20 and Kylin V10 knows no other compression.
        assert {Path(name).suffix for name in members[1:]} <= {".gz", ".xz"}, package.name
    for package in rpms:
        asked = ["rpm", "--query", "--requires", "--queryformat", "%{PAYLOADCOMPRESSOR}\n", "--package", str(package)]
        needs = subprocess.check_output(asked, text=True)
        assert not re.search(r"(?<!tsfm-)python", needs), package.name
        assert {"gzip", "xz"} & set(needs.split()), package.name


def records() -> dict[str, str]:
    """SHA-256 of every file of the wheels in the development environment, by its path."""
    found = {}
    for record in Path(sysconfig.get_path("purelib")).glob("*.dist-info/RECORD"):
        with record.open(newline="", encoding="utf-8") as file:
            found |= {name: digest.removeprefix("sha256=") for name, digest, _ in csv.reader(file)}
    return found


def test_the_runtimes_files_are_those_of_the_published_wheels(unpacked: Path) -> None:
    published = records()
    runtime = next(path for path in unpacked.iterdir() if path.name.startswith("taos-tsfm-runtime_"))
    compared = 0
    for tree in ("runtime", "cli"):
        packages = runtime / f"usr/lib/taos-tsfm/{tree}" / PACKAGES
        for path in sorted(packages.rglob("*")):
            name = path.relative_to(packages).as_posix()
            if path.is_dir() or path.suffix == ".pyc" or name in (*venvs.STRIPPED, "_runtime.pth", int8_kernel.FILE):
                continue
            digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
            assert digest == published.get(name), f"{tree}: {name} is not the file of its wheel"
            compared += 1
    assert compared > 4000
