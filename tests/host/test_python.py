"""The interpreter of the packages: CPython's own tests, certificates, size, sources, and the same bytes twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from host.conftest import ROOT, Host

sys.path.insert(0, str(ROOT / "packaging"))

import integrity
import interpreter

# CPython's tests of the libraries that are linked in, and of what a server uses most.
TESTED = ("ssl", "hashlib", "ctypes", "lzma", "bz2", "socket", "subprocess", "threading")
LEFT_OUT = ("*VSOCK*",)  # the kernel of a test machine may have vsock without a peer
COUNT = "import ssl; print(len(ssl.create_default_context().get_ca_certs()))"
# Where RHEL and its rebuilds, openEuler and Kylin store the certificates that the system trusts.
RED_HATS = "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"


@pytest.fixture(scope="module")
def program(host: Host) -> str:
    """The installed interpreter, on a host where nothing else of ours is."""
    host.out("apt-get -q -y install /srv/v1/taos-tsfm-python_*.deb")
    return f"{interpreter.PLACE}/{interpreter.PROGRAM}"


def test_the_systems_certificates_are_found_and_a_users_choice_wins(host: Host, program: str) -> None:
    count = lambda before="": int(host.out(f"{before} {program} -c '{COUNT}'"))  # noqa: E731
    found = count()
    assert found > 50
    assert count("SSL_CERT_FILE=/dev/null") == 0
    assert count("SSL_CERT_DIR=/srv") == 0
    host.out(f"mkdir -p /{Path(RED_HATS).parent} && mv /etc/ssl/certs/ca-certificates.crt /{RED_HATS}")
    assert count() == found
    host.out(f"mv /{RED_HATS} /etc/ssl/certs/ca-certificates.crt")
    assert count() == found


def test_the_package_stays_small(host: Host, program: str, repositories: Path) -> None:
    for package in (*repositories.glob("v1/taos-tsfm-python_*.deb"), *repositories.glob("v1/taos-tsfm-python-*.rpm")):
        assert package.stat().st_size <= 13e6, package.name
    assert int(host.out(f"du -s --apparent-size --block-size 1 {Path(program).parents[1]} | cut -f 1")) <= 40e6


def test_the_bill_of_materials_names_the_pinned_sources(host: Host, program: str) -> None:
    assert program
    bill = json.loads(host.out("cat /usr/share/doc/taos-tsfm-python/sbom.cdx.json"))
    named = {component["name"]: component for component in bill["components"]}
    assert {name: component["version"] for name, component in named.items()} == interpreter.pinned()
    purl = named["openssl"]["purl"]
    assert (
        purl == f"pkg:deb/debian/openssl@{named['openssl']['version'].replace('~', '%7E')}?arch=source&distro=bookworm"
    )
    licences = host.out(f"ls {interpreter.PLACE}/licenses").split()
    assert licences == sorted(f"{name}.txt" for name in interpreter.pinned())


def test_cpythons_own_tests_pass(host: Host, program: str) -> None:
    # Where it is installed: some of them start it by another name, so that it must know its folder.
    library = Path(program).parents[1] / "lib/python3.11"
    shutil.copytree(interpreter.own_tests(), host.root / library.relative_to("/"), dirs_exist_ok=True)
    left_out = " ".join(f"--ignore '{pattern}'" for pattern in LEFT_OUT)
    names = " ".join(f"test_{name}" for name in TESTED)
    done = host.run(f"cd /srv && {program} -B -m test -j2 --timeout 900 {left_out} {names}", check=False, limit_s=1800)
    assert done.returncode == 0, done.stdout[-8000:]
    assert f"All {len(TESTED)} tests OK." in done.stdout


def test_it_runs_in_another_folder_too(tmp_path: Path) -> None:
    tree = tmp_path / "elsewhere"
    shutil.copytree(interpreter.tree(), tree, symlinks=True)
    command = [str(tree / interpreter.PROGRAM), "-I", "-c", "import ssl, sys; print(sys.prefix, ssl.__file__)"]
    said = subprocess.check_output(command, text=True, env={}).split()
    assert said == [str(tree), str(tree / "lib/python3.11/ssl.py")]


@pytest.mark.skipif(not os.environ.get("TSFM_BUILD_TWICE"), reason="takes minutes: TSFM_BUILD_TWICE=1 builds it again")
def test_two_builds_give_the_same_bytes(tmp_path: Path) -> None:
    interpreter.build(tmp_path)
    assert integrity.content(tmp_path / "python") == integrity.content(interpreter.tree())
