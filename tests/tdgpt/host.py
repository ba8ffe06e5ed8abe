"""A host of our own: TDgpt's tree, the packages' tree and tsfm.ini below one folder."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from anode import installation

from tsfm import paths
from tsfm.tdgpt import trust

HERE = Path(__file__).parent
SAMPLES = HERE / "samples"
NAMES = {"G1": "taosanode.ini", "G2": "taosanode.ini"} | dict.fromkeys(("G3", "G3flat", "G4"), "taosanode.config.py")


class Host:
    """Everything below ``root``; ``tsfm`` runs the command there as a process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.etc = root / "etc/taos"
        self.tree = root / "usr/local/taos/taosanode"
        self.code = self.tree / "lib/taosanalytics"
        self.scripts = self.tree / "tsfm"
        self.settings = root / "etc/taos/tsfm.ini"
        self.bin = root / "bin"
        self.bin.mkdir()
        self.etc.mkdir(parents=True)
        share = root / "usr/lib/taos-tsfm/share"
        share.mkdir(parents=True)
        source = HERE.parent.parent
        shutil.copy(source / "src/tsfm/share/server.py", share)
        shutil.copy(source / "etc/taosanode.ini", share)

    def install(self, *families: str) -> None:
        for family in families:
            folder = self.root / "usr/lib/taos-tsfm/venvs" / family / "bin"
            folder.mkdir(parents=True)
            (folder / "python").symlink_to(sys.executable)
            self.enable(family)

    @property
    def links(self) -> Path:
        """The folder into which `systemctl enable` links units."""
        return self.root / "etc/systemd/system/tsfm.target.wants"

    def enable(self, family: str) -> None:
        self.links.mkdir(parents=True, exist_ok=True)
        (self.links / f"tsfm@{family}.service").symlink_to("/usr/lib/systemd/system/tsfm@.service")

    def disable(self, family: str) -> None:
        (self.links / f"tsfm@{family}.service").unlink()

    def uninstall(self, family: str) -> None:
        shutil.rmtree(self.root / "usr/lib/taos-tsfm/venvs" / family)

    def tdgpt(self, generation: str) -> Path:
        """TDgpt's installer: its tree and its configuration. Returns the latter."""
        installation.install(self.tree, newest=generation == "G4")
        name = NAMES[generation]
        config = self.etc / name
        shutil.copy(SAMPLES / f"{generation.lower()}{name.removeprefix('taosanode')}", config)
        (self.code / "conf.py").write_text(
            f"# reads /etc/taos/{name}\n{(self.code / 'conf.py').read_text().partition(chr(10))[2]}"
        )
        return config

    def command(self, name: str, script: str) -> None:
        """A program of the host's, found before the real one."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def tsfm(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "PYTHONPATH": str(HERE.parent.parent / "src"),
            "TSFM_ROOT": str(self.root),
            "TSFM_INI": str(self.settings),
            "HOME": str(self.root),
        }
        return subprocess.run(
            [sys.executable, "-m", "tsfm", *words],
            env=environment | env,
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """The host, which code in this process sees as well."""
    return stand_on(Host(tmp_path), monkeypatch)


@pytest.fixture
def own_host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host that nobody else can change: not below /tmp, where everybody may write."""
    home = pwd.getpwuid(os.geteuid()).pw_dir
    with tempfile.TemporaryDirectory(prefix=".tsfm-test-", dir=home) as folder:
        found = trust.walk(Path(folder))
        os.close(found.descriptor)
        if found.foreign:
            pytest.skip(f"no folder of one's own on this machine: {found.foreign}")
        yield stand_on(Host(Path(folder)), monkeypatch)


def stand_on(here: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("TSFM_INI", str(here.settings))
    monkeypatch.setenv("PATH", f"{here.bin}:{os.environ['PATH']}")
    payload = here.root / "usr/lib/taos-tsfm"
    places = {"ROOT": here.root, "PAYLOAD": payload, "VENVS": payload / "venvs", "SHARE": payload / "share"}
    places |= {"TDGPT": here.tree, "SCRIPTS": here.scripts, "ETC": here.etc, "RUNTIME": payload / "runtime"}
    for name, path in places.items():
        monkeypatch.setattr(paths, name, path)
    return here
