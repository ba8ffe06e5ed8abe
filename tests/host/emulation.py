"""A Debian 12 for ARM64 on any machine: qemu runs its programs, one command at a time. Nothing boots; no network."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from host.container import BOOKWORM, PATH, System, scratch

BINFMT = Path("/proc/sys/fs/binfmt_misc")
QEMU = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")  # of Debian's qemu-user-static
# What the packages depend on, without any Python.
ROOT = System(BOOKWORM.suite, "systemd,ca-certificates,curl", ("--arch=arm64",))
LIMIT_S = 900  # emulation takes ten times as long, and other tests may use the machine


def emulate() -> None:
    """Let the kernel start ARM64's programs by qemu, as systemd does at boot where qemu-user-static is installed.

    The kernel keeps qemu open, so its programs also start in a root without it. It stays so until the machine stops.
    """
    if platform.machine() == "aarch64":
        return
    if not (BINFMT / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)], check=True)
    if not (BINFMT / "qemu-aarch64").exists():
        (BINFMT / "register").write_text(QEMU.read_text().strip())


@contextmanager
def copy() -> Iterator[Path]:
    """A copy of the root, and its removal."""
    emulate()
    folder = scratch("arm64-")
    try:
        subprocess.run(["cp", "-a", "--reflink=auto", str(ROOT.base()), str(folder / "root")], check=True)
        yield folder / "root"
    finally:
        shutil.rmtree(folder)


def run(root: Path, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A shell script in the root, as root, with only a loopback; stdout and stderr together."""
    enter = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--pipe"]
    enter += ["--resolv-conf=off", "--directory", str(root), *options, "env", "-i", f"PATH={PATH}", "HOME=/root"]
    enter += ["LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", script]
    return subprocess.run(
        enter, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S
    )
