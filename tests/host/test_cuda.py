"""taos-tsfm-cuda: its PyTorch is found before the runtime's, and the service may reach the GPU, as long as it is here.

The real PyTorch with CUDA takes gigabytes. A wheel of the same name and version stands for it here; everything else is
what `make cuda-deb` does.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from host.conftest import ROOT, VERSIONS, Host

sys.path.insert(0, str(ROOT / "packaging"))

import interpreter

PYTHON = "/usr/lib/taos-tsfm/venvs/fracast/bin/python"
SAY = f'{PYTHON} -c "import torch; print(torch.__version__, torch.__file__)"'


def wheel(folder: Path) -> Path:
    """A wheel named torch with a version and nothing else."""
    made, info = folder / "torch-2.13.0-py3-none-any.whl", "torch-2.13.0.dist-info"
    files = {
        "torch/__init__.py": '__version__ = "2.13.0+stand-in"\n',
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{name},sha256={_digest(text)},{len(text)}\n" for name, text in files.items()]
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(f"{info}/RECORD", "".join([*record, f"{info}/RECORD,,\n"]))
    return made


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built from a copy of this tree whose lock pins the wheel."""
    source, wheels = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    for part in ("src", "packaging", "etc", "man", "docs"):
        shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("README.md", "CHANGELOG.md", "pyproject.toml", "mkdocs.yml"):
        shutil.copy(ROOT / file, source)
    digest = hashlib.sha256(wheel(wheels).read_bytes()).hexdigest()
    (source / "packaging/locks/cuda.txt").write_text(f"torch==2.13.0 \\\n    --hash=sha256:{digest}\n")
    cache = source / "cache"
    (cache / "taos-tsfm").mkdir(parents=True)
    (cache / "taos-tsfm/python").symlink_to(interpreter.tree().parent)
    more = {"OUT": str(source / "out"), "XDG_CACHE_HOME": str(cache), "TORCH_WHEEL_DIR": str(wheels)}
    command = [sys.executable, str(source / "packaging/build.py"), "deb", "--only", "taos-tsfm-cuda"]
    subprocess.run(command, env=os.environ | more | {"VERSION": VERSIONS["v1"]}, check=True, stdout=subprocess.DEVNULL)
    (made,) = (source / "out").glob("*.deb")
    return made


def test_nothing_builds_it_unasked(repositories: Path) -> None:
    assert not list(repositories.rglob("*cuda*"))


@pytest.fixture(scope="module", autouse=True)
def installed(host: Host) -> None:
    host.write("/etc/apt/sources.list.d/tsfm.list", "deb [trusted=yes] file:/srv/v1 ./\n")
    host.out("apt-get -q update && apt-get -q -y -o Dpkg::Use-Pty=0 install taos-tsfm-core taos-tsfm-fracast")


def test_without_it_a_service_says_what_to_install(host: Host) -> None:
    host.write("/etc/taos/tsfm.ini", "[fracast]\ndevice = cuda\n")
    assert "is built without CUDA: install taos-tsfm-cuda; cpu always works" in host.refused("tsfm@fracast")


def test_its_torch_and_its_devices_come_and_go_with_it(host: Host, package: Path) -> None:
    assert "/usr/lib/taos-tsfm/runtime/" in host.out(SAY)
    assert host.show("tsfm@fracast", "PrivateDevices") == "yes"
    shutil.copy(package, host.root / "srv/cuda.deb")
    host.out("dpkg --install /srv/cuda.deb")
    assert host.out(SAY).split() == [
        "2.13.0+stand-in",
        "/usr/lib/taos-tsfm/cuda/lib/python3.11/site-packages/torch/__init__.py",
    ]
    assert host.show("tsfm@fracast", "PrivateDevices") == "no"
    assert host.show("tsfm@fracast", "DevicePolicy") == "closed"
    allowed = host.show("tsfm@fracast", "DeviceAllow")
    assert all(f"char-{name} rw" in allowed for name in ("nvidia", "nvidia-frontend", "nvidia-uvm"))
    host.out("dpkg --remove taos-tsfm-cuda")
    assert "/usr/lib/taos-tsfm/runtime/" in host.out(SAY)
    assert host.show("tsfm@fracast", "PrivateDevices") == "yes"
    assert not (host.root / "usr/lib/taos-tsfm/cuda").exists()
