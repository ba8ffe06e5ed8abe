"""The interpreter of the packages: CPython's own tests, certificates, size, sources, and the same bytes twice."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from host.conftest import ROOT, Host

sys.path.insert(0, str(ROOT / "packaging"))

import integrity
import interpreter

# CPython's tests of the libraries that are linked in, and of what a server uses most.
TESTED = ("ssl", "hashlib", "ctypes", "lzma", "bz2", "socket", "subprocess", "threading")
LEFT_OUT = (
    "*VSOCK*",  # the kernel of a test machine may have vsock without a peer
    "test_empty_env",  # sitecustomize.py sets SSL_CERT_FILE
    "test_executable_without_cwd",  # started by another name, it looks for its modules where it is installed
)
COUNT = "import ssl; print(len(ssl.create_default_context().get_ca_certs()))"
# Where RHEL and its rebuilds, openEuler and Kylin store the certificates that the system trusts.
RED_HATS = "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"


@pytest.fixture(scope="module")
def program(host: Host) -> str:
    """The installed interpreter, on a host where nothing else of ours is."""
    host.out("apt-get -q -y install /srv/v1/taos-tsfm-python_*.deb")
    return f"{interpreter.PREFIX}/{interpreter.PROGRAM}"


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
    version = interpreter.pinned()["openssl"]
    assert named["openssl"]["purl"] == f"pkg:deb/debian/openssl@{version}?arch=source&distro=bookworm"
    licences = host.out(f"ls {interpreter.PREFIX}/licenses").split()
    assert licences == sorted(f"{name}.txt" for name in interpreter.pinned())


def test_cpythons_own_tests_pass_in_another_folder(tmp_path: Path) -> None:
    tree = tmp_path / "elsewhere"
    shutil.copytree(interpreter.tree(), tree, symlinks=True)
    shutil.copytree(interpreter.own_tests(), tree / "lib/python3.11", dirs_exist_ok=True)
    left_out = [option for pattern in LEFT_OUT for option in ("--ignore", pattern)]
    # -w: what failed runs once more by itself, as some of test_threading depend on when a busy machine wakes a thread.
    command = [str(tree / interpreter.PROGRAM), "-B", "-m", "test", "-j2", "-w", "--timeout", "900", *left_out]
    command += [f"test_{name}" for name in TESTED]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-8000:]
    assert re.search(r"^Tests result: (FAILURE then )?SUCCESS$", done.stdout, re.MULTILINE), done.stdout[-2000:]
    assert len(set(re.findall(r"\] (test_\w+) (?:passed|failed)", done.stdout))) == len(TESTED)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of a throw-away key, with its public half in key.gpg."""
    home = tmp_path_factory.mktemp("gnupg")
    home.chmod(0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
    subprocess.run([*gpg, "--passphrase", "", "--quick-generate-key", "test", "ed25519", "sign"], check=True)
    (home / "key.gpg").write_bytes(subprocess.check_output([*gpg, "--export"]))
    yield home
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)


def suite(mirror: Path, name: str, versions: dict[str, str], missing: tuple[str, ...], key: Path) -> None:
    """A signed index of sources, and their .dsc files but for those that are missing."""
    folder = mirror / "dists" / name
    index = folder / "main/source/Sources"
    index.parent.mkdir(parents=True)
    entries = []
    for source, version in versions.items():
        file = f"{source}_{version.rpartition(':')[2]}.dsc"
        text = f"Source: {source}\nVersion: {version}\n"
        if source not in missing:
            (mirror / file).write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        listed = f"Checksums-Sha256:\n {digest} {len(text)} {file}\n"
        entries.append(f"Package: {source}\nBinary: {source}\nVersion: {version}\nDirectory: .\n{listed}")
    index.write_text("\n".join(entries))
    facts = ["-o", f"APT::FTPArchive::Release::Suite={name}", "-o", f"APT::FTPArchive::Release::Codename={name}"]
    release = subprocess.check_output(["apt-ftparchive", *facts, "release", str(folder)])
    (folder / "Release").write_bytes(release)
    sign = ["gpg", "--homedir", str(key), "--batch", "--clearsign", "--output", str(folder / "InRelease")]
    subprocess.run([*sign, str(folder / "Release")], check=True)


@pytest.mark.parametrize(
    ("newer", "missing", "words"),
    [
        ({}, (), []),
        ({"openssl": "99.0-1"}, (), ["openssl: {openssl} is pinned, 99.0-1 is the newest; run: make python-update"]),
        ({"expat": "99.0-1"}, ("expat",), ["99.0-1 is the newest; this mirror lists it but does not deliver it"]),
    ],
    ids=["newest", "newer", "newer-and-missing"],
)
def test_a_release_stops_when_the_suite_lists_a_newer_source(
    tmp_path: Path, key: Path, newer: dict[str, str], missing: tuple[str, ...], words: list[str]
) -> None:
    suite(tmp_path / "debian", "bookworm", interpreter.pinned(), (), key)
    suite(tmp_path / "debian-security", "bookworm-security", newer, missing, key)
    mirror = {"DEBIAN_MIRROR": f"file:{tmp_path}/debian", "DEBIAN_KEYS": str(key / "key.gpg")}
    command = ["make", "-s", "python-check"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | mirror, capture_output=True, text=True)
    assert (done.returncode == 0) == (words == []), done.stderr
    for sentence in words:
        assert sentence.format(**interpreter.pinned()) in done.stderr


@pytest.mark.skipif(not os.environ.get("TSFM_BUILD_TWICE"), reason="takes minutes: TSFM_BUILD_TWICE=1 builds it again")
def test_two_builds_give_the_same_bytes(tmp_path: Path) -> None:
    interpreter.build(tmp_path)
    assert integrity.content(tmp_path / "python") == integrity.content(interpreter.tree())
