"""Build an OCI image from the debs, as a layout folder (OUT/image); no container engine is needed.

Three layers: Debian's libraries that the packages depend on, the interpreter with the common environment, and our own
files with every family. Nothing is installed, only unpacked: there is no shell, no package manager and no systemd.
The same packages give the same bytes; the versions of Debian's are in the image, in /var/lib/dpkg/status.d.

Environment: OUT and VERSION are those of build.py, ARCH is that of architecture.py, DEBIAN_MIRROR the mirror
(default: that of this machine's apt).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import architecture
import build
import oci
import venvs

from tsfm import card, settings

ARCH = architecture.deb()
SUITE = "bookworm"
# What our packages depend on, and what a downloader needs: the list of authorities, without what would install it.
SYSTEM = ("base-files", "ca-certificates", "libc6", "libgcc-s1", "libstdc++6", "zlib1g")
# No program in the image reads these.
UNUSED = (
    "usr/share/locale",
    "usr/share/man",
    "usr/share/lintian",
    "usr/share/bug",
    "usr/lib/*/gconv",
    "var/lib/systemd",
)
# tsfm forecast reads tables with it, on the side of a client.
CLIENTS = "usr/lib/taos-tsfm/cli"
USER = 65532
MODELS = str(settings.MODEL_ROOT).lstrip("/")
FILES = {
    "etc/passwd": f"root:x:0:0:root:/:/usr/sbin/nologin\ntsfm:x:{USER}:{USER}:tsfm:/tmp:/usr/sbin/nologin\n",
    "etc/group": f"root:x:0:\ntsfm:x:{USER}:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}
SECOND = 1_000_000_000  # Docker's unit of time


def main() -> int:
    out = build.OUT / "image"
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=venvs.BUILD, prefix="image-") as folder:
        stage = Path(folder)
        layers = [
            oci.layer(system(stage / "system"), out, venvs.EPOCH),
            oci.layer(common(stage / "common"), out, venvs.EPOCH),
            oci.layer(ours(stage / "ours"), out, venvs.EPOCH, {MODELS: USER}),
        ]
    oci.image(out, layers, configuration(), ARCH, venvs.EPOCH, annotations())
    print(f"{out}: {sum(layer.size for layer in layers) / 1e6:.0f} MB")
    return 0


def system(root: Path) -> Path:
    """The layer with Debian's libraries."""
    with tempfile.TemporaryDirectory(dir=venvs.BUILD, prefix="apt-") as folder:
        unpack(root, download(Path(folder)))
    for pattern in UNUSED:
        for path in root.glob(pattern):
            shutil.rmtree(path)
    authorities = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    write(root / "etc/ssl/certs/ca-certificates.crt", "".join(path.read_text() for path in authorities))
    shutil.rmtree(root / "usr/share/ca-certificates")
    for name, text in FILES.items():
        write(root / name, text)
    (root / "tmp").chmod(0o1777)
    return root


def common(root: Path) -> Path:
    """The layer that changes least often of what is ours."""
    unpack(root, [package("taos-tsfm-python"), package("taos-tsfm-runtime")])
    shutil.rmtree(root / CLIENTS)
    return root


def ours(root: Path) -> Path:
    """The layer with our code, every family and the image's own files."""
    families = [package(f"taos-tsfm-{name}") for name in card.names(packaged_only=True)]
    unpack(root, [package("taos-tsfm-core"), *families])
    shutil.rmtree(root / "usr/lib/systemd")
    shutil.copy(venvs.HERE / "image" / "tsfm.ini", root / "etc/taos/tsfm.ini")
    shutil.copy(venvs.HERE / "image" / "tsfm-healthy", root / "usr/bin/tsfm-healthy")
    (root / "usr/bin/tsfm-healthy").chmod(0o755)
    (root / MODELS).mkdir(parents=True)
    return root


def configuration() -> dict[str, object]:
    """How an engine starts the image."""
    ports = sorted(card.read(name).port for name in card.names(packaged_only=True))
    return {
        "User": f"{USER}:{USER}",
        "Entrypoint": ["/usr/bin/tsfm", "serve"],
        "Env": ["PATH=/usr/bin:/bin", "LANG=C.UTF-8", "HOME=/tmp", "TSFM_FAMILY=fracast"],
        "WorkingDir": "/tmp",  # noqa: S108  (the image's own)
        "ExposedPorts": {f"{port}/tcp": {} for port in ports},
        "StopSignal": "SIGTERM",
        # Docker's extension of OCI's configuration; other engines take the command on their own command line.
        "Healthcheck": {
            "Test": ["CMD", "/usr/bin/tsfm-healthy"],
            "Interval": 10 * SECOND,
            "Timeout": 5 * SECOND,
            "StartPeriod": 300 * SECOND,
            "Retries": 3,
        },
    }


def annotations() -> dict[str, str]:
    return {
        "org.opencontainers.image.ref.name": build.VERSION,
        "org.opencontainers.image.version": build.VERSION,
        "org.opencontainers.image.title": "taos-tsfm",
        "org.opencontainers.image.description": "Time-series foundation models for TDengine",
        "org.opencontainers.image.licenses": "Apache-2.0",
    }


def package(name: str) -> Path:
    """The deb of one of our packages."""
    found = sorted(build.OUT.glob(f"{name}_*.deb"))
    fitting = [path for path in found if path.stem.rpartition("_")[2] in ("all", ARCH)]
    if len(fitting) != 1:
        raise SystemExit(
            f"{build.OUT}: expected one {name}_VERSION_{ARCH}.deb, got {len(fitting)}; run make deb in an empty folder"
        )
    return fitting[0]


def unpack(root: Path, packages: list[Path]) -> None:
    """Unpack debs, and note each where scanners of images look for what is installed."""
    for path in packages:
        subprocess.run(["dpkg-deb", "--extract", str(path), str(root)], check=True)
        control = subprocess.run(["dpkg-deb", "--field", str(path)], check=True, capture_output=True, text=True).stdout
        write(root / "var/lib/dpkg/status.d" / path.name.partition("_")[0], control)


def mirror() -> str:
    """The mirror of Debian that DEBIAN_MIRROR names, or that this machine's apt uses."""
    if given := os.environ.get("DEBIAN_MIRROR"):
        return given.rstrip("/")
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    text = "\n".join(file.read_text() for file in files if file.is_file())
    if found := re.search(r"https?://\S+/debian(?=/?\s|/?$)", text):
        return found[0]
    sys.exit("DEBIAN_MIRROR: expected the address of a mirror of Debian, as this machine's apt names none, got nothing")


def download(folder: Path) -> list[Path]:
    """Fetch Debian's packages with apt, which checks their signatures, without regard to what this machine is."""
    signed = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    source = mirror()
    suites = f"deb {signed} {source} {SUITE} main\ndeb {signed} {source}-security {SUITE}-security main\n"
    write(folder / "etc/apt/sources.list", suites)
    write(folder / "var/lib/dpkg/status", "")
    for name in ("etc/apt/preferences.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"):
        (folder / name).mkdir(parents=True)
    settings_ = {
        "Dir": folder,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Status": folder / "var/lib/dpkg/status",
        "APT::Architecture": ARCH,
        "APT::Architectures": ARCH,
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    apt = ["apt-get", "-qq", *(word for key, value in settings_.items() for word in ("-o", f"{key}={value}"))]
    for words in (["update"], ["download", *SYSTEM]):
        subprocess.run([*apt, *words], cwd=folder, check=True)
    return sorted(folder.glob("*.deb"))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
