"""The signed repository, read by HTTP: apt and dnf trust it, and nothing that was changed on the way."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from host import repository
from host.conftest import ROOT, VERSIONS, Host
from host.container import Container
from host.test_rpm import give

SOURCES = "/etc/apt/sources.list.d/taos-tsfm.sources"
FORGET = "rm -rf /var/lib/apt/lists/* && apt-get -q -o APT::Update::Error-Mode=any update"
DNF = "dnf -q -y --releasever 12"


@pytest.fixture(scope="module")
def current(repositories: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the server gives; a test may link another one."""
    link = tmp_path_factory.mktemp("served") / "taos-tsfm"
    link.symlink_to(repositories / "v1")
    return link


@pytest.fixture(scope="module")
def host(current: Path) -> Iterator[Host]:
    with Container() as container, repository.served(container, current.parent):
        found = Host(container)
        give(found)
        yield found


@pytest.fixture
def changed(current: Path, repositories: Path, tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Puts a copy of the repository in its place, in which one file may be changed; gives that file's path."""
    copy = tmp_path / "changed"
    shutil.copytree(repositories / "v1", copy, copy_function=lambda source, target: Path(target).symlink_to(source))

    def own(name: str) -> Path:
        (path,) = copy.glob(name)
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
        current.unlink()
        current.symlink_to(copy)
        return path

    yield own
    current.unlink()
    current.symlink_to(repositories / "v1")


def flip(path: Path) -> None:
    """Change one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_apt_trusts_it_by_the_readmes_lines_and_by_no_option(host: Host) -> None:
    host.out("mkdir /srv/here")
    for line in repository.documented("README.md", "## Install"):
        host.out(f"cd /srv/here && {line.replace('apt install', 'apt-get -q -y install')}")
    assert "trusted" not in host.out(f"cat {SOURCES}").lower()
    assert host.model("fracast")["version"] == VERSIONS["v1"]
    assert len(host.ask("fracast")["output"]) == 24


@pytest.mark.parametrize("name", ["InRelease", "Packages*"])
def test_apt_refuses_an_index_that_was_changed(host: Host, changed: Callable[[str], Path], name: str) -> None:
    for path in ["Packages", "Packages.gz"] if "*" in name else [name]:
        flip(changed(path))
    done = host.run(FORGET, check=False)
    assert done.returncode != 0
    assert "signature" in done.stdout or "Hash Sum mismatch" in done.stdout or "File has unexpected size" in done.stdout
    assert "Unable to locate" in host.run("apt-get -q -y install taos-tsfm-moment", check=False).stdout


def test_apt_refuses_an_index_that_nobody_signed(host: Host, changed: Callable[[str], Path]) -> None:
    for name in ("InRelease", "Release.gpg"):
        changed(name).unlink()
    done = host.run(FORGET, check=False)
    assert done.returncode != 0
    assert "not signed" in done.stdout


def test_apt_refuses_an_index_that_another_key_signed(host: Host, changed: Callable[[str], Path]) -> None:
    with repository.key() as other:
        release = changed("Release")
        for name, how in (("InRelease", "--clearsign"), ("Release.gpg", "--detach-sign")):
            target = changed(name)
            command = ["gpg", "--batch", "--yes", "--local-user", other.fingerprint, "--armor", "--output", str(target)]
            subprocess.run([*command, how, str(release)], env=other.environment, check=True, capture_output=True)
    done = host.run(FORGET, check=False)
    assert done.returncode != 0
    assert other.fingerprint[-16:] in done.stdout


def test_apt_refuses_a_package_that_was_changed(host: Host, changed: Callable[[str], Path]) -> None:
    flip(changed("taos-tsfm-doc_*.deb"))
    host.out(FORGET)
    done = host.run("cd /srv && apt-get -q download taos-tsfm-doc", check=False)
    assert done.returncode != 0
    assert "Hash Sum mismatch" in done.stdout


def test_dnf_trusts_it_by_the_documented_lines_and_by_no_option(host: Host) -> None:
    host.out("systemctl stop tsfm@fracast && apt-get -q -y purge 'taos-tsfm*'")
    for line in repository.documented("docs/install.md", "### With dnf"):
        host.out(line.replace("dnf ", f"{DNF} "))
    assert "taos-tsfm-fracast" in host.out("rpm --query --all")
    assert "gpg-pubkey" in host.out("rpm --query --all")
    host.out("systemctl start tsfm@fracast")
    assert len(host.ask("fracast")["output"]) == 24


@pytest.mark.parametrize("name", ["repodata/repomd.xml", "repodata/repomd.xml.asc", "repodata/*-primary.xml.gz"])
def test_dnf_refuses_an_index_that_was_changed(host: Host, changed: Callable[[str], Path], name: str) -> None:
    known = f"rm -rf /var/cache/dnf; {DNF} repoquery taos-tsfm-moment"
    assert "taos-tsfm-moment" in host.out(known)
    flip(changed(name))
    assert "taos-tsfm-moment-" not in host.run(known, check=False).stdout
    assert host.run(f"{DNF} install taos-tsfm-moment", check=False).returncode != 0


def test_dnf_refuses_a_package_that_was_changed(host: Host, changed: Callable[[str], Path], repositories: Path) -> None:
    altered = changed("taos-tsfm-doc-*.rpm")
    flip(altered)
    done = host.run(f"rm -rf /var/cache/dnf; {DNF} install taos-tsfm-doc", check=False)
    assert done.returncode != 0
    assert host.run("rpm --query taos-tsfm-doc", check=False).returncode != 0
    for folder, good in ((repositories / "v1", True), (altered.parent, False)):
        (package,) = folder.glob("taos-tsfm-doc-*.rpm")
        shutil.copy(package, host.root / "srv" / "one.rpm")
        assert (host.run("rpm --checksig /srv/one.rpm", check=False).returncode == 0) == good


def test_the_release_is_complete_and_its_sums_are_signed(repositories: Path, host: Host) -> None:
    folder = repositories / "v1"
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    listed = {line.split("  ", 1)[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there - listed == {"SHA256SUMS", "SHA256SUMS.asc"}
    assert {"InRelease", "repodata/repomd.xml.asc", "image/index.json", "docs/index.html", "provenance.json"} <= listed
    keyring = host.root / "srv" / "key.gpg"
    (deb,) = folder.glob("taos-tsfm-repo_*.deb")
    tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(deb)], check=True, capture_output=True).stdout
    member = "./usr/share/keyrings/taos-tsfm.gpg"
    taken = subprocess.run(["tar", "--extract", "--to-stdout", member], input=tar, check=True, capture_output=True)
    keyring.write_bytes(taken.stdout)
    verify = ["gpgv", "--keyring", str(keyring), "SHA256SUMS.asc", "SHA256SUMS"]
    subprocess.run(verify, cwd=folder, check=True, capture_output=True)


def test_the_provenance_names_every_file_the_commit_and_the_locks(repositories: Path) -> None:
    folder = repositories / "v1"
    note = json.loads((folder / "provenance.json").read_text())
    assert note["_type"] == "https://in-toto.io/Statement/v1"
    assert note["predicateType"] == "https://slsa.dev/provenance/v1"
    sums = dict(line.split("  ", 1)[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    del sums["provenance.json"]
    assert {entry["name"]: entry["digest"]["sha256"] for entry in note["subject"]} == sums
    commit, *locks = note["predicate"]["buildDefinition"]["resolvedDependencies"]
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()
    assert commit["digest"] == {"gitCommit": head}
    assert {entry["name"] for entry in locks} >= {"packaging/locks/runtime.txt", "packaging/locks/fracast.txt"}
    bills = {path.name.partition("_")[0] for path in (folder / "sbom").iterdir()}
    assert bills == {path.name.partition("_")[0] for path in folder.glob("*_*.deb")} - {"taos-tsfm-repo"}
