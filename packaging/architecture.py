"""The architecture that packages are built for: ARCH=amd64 or ARCH=arm64 in the environment, else this machine's."""

from __future__ import annotations

import os
import platform

# Debian's name is the one that people type; the other one is used by compilers, wheels and rpm.
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def deb() -> str:
    """The architecture by Debian's name.

    Raises:
        SystemExit: ARCH is another word, or this machine is another one and ARCH is not set.
    """
    own = {machine: name for name, machine in MACHINES.items()}.get(platform.machine(), "")
    name = os.environ.get("ARCH") or own
    if name not in MACHINES:
        raise SystemExit(f"ARCH: expected one of {', '.join(MACHINES)}, got {name!r} on {platform.machine()}")
    return name


def machine() -> str:
    """The architecture by the kernel's name, as ``uname -m`` prints it there."""
    return MACHINES[deb()]


def foreign() -> bool:
    """Whether the architecture is another one than this machine's, so that nothing built for it runs here."""
    return bool(os.environ.get("ARCH")) and machine() != platform.machine()
