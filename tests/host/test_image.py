"""Installation where no systemd runs: in a chroot, or while an image is built."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from host.container import BOOKWORM, scratch

PACKAGES = ("taos-tsfm-python", "taos-tsfm-core", "taos-tsfm-doc")
BY_NAME = "apt-get -q update && apt-get -q -y install taos-tsfm-core taos-tsfm-doc"
FROM_FILES = "rm /etc/apt/sources.list.d/tsfm.list && apt-get -q -y install " + " ".join(
    f"/srv/v1/{name}_*.deb" for name in PACKAGES
)


@pytest.mark.parametrize("install", [BY_NAME, FROM_FILES], ids=["by-name", "from-files"])
def test_the_packages_install_and_go_where_no_systemd_runs(repositories: Path, install: str) -> None:
    folder = scratch("image-")
    root = folder / "root"
    subprocess.run(["cp", "-a", "--reflink=auto", str(BOOKWORM.base()), str(root)], check=True)
    (root / "etc/apt/sources.list.d/tsfm.list").write_text("deb [trusted=yes] file:/srv/v1 ./\n")
    # Without --boot the command is all that runs.
    enter = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--pipe"]
    enter += ["--directory", str(root), f"--bind-ro={repositories / 'v1'}:/srv/v1", "--resolv-conf=off"]
    steps = f"{install} && tsfm list && dpkg --audit && test -s /usr/share/doc/taos-tsfm/html/index.html"
    try:
        for script in (steps, f"apt-get -q -y purge {' '.join(PACKAGES)}"):
            command = [*enter, "env", "DEBIAN_FRONTEND=noninteractive", "sh", "-ec", script]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
        assert not (root / "usr/share/doc/taos-tsfm").exists()
        assert "tsfm:" in (root / "etc/passwd").read_text()
        assert not (root / "etc/taos").exists()
        assert list((root / "etc/systemd/system").rglob("tsfm*")) == []
    finally:
        shutil.rmtree(folder)
