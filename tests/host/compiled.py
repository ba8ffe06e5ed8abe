"""Checks the programs and libraries in unpacked packages: for which architecture they are, and what they need."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

# The newest versions that RHEL 8's libraries have (glibc 2.28, gcc 8).
NEWEST = {"GLIBC": (2, 28), "GLIBCXX": (3, 4, 25), "CXXABI": (1, 3, 11), "GCC": (7, 0, 0)}
# The libraries of these packages, and only of these: libc6, libgcc-s1, libstdc++6, zlib1g.
SYSTEM = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libresolv.so.2"}
SYSTEM |= {"libgcc_s.so.1", "libstdc++.so.6", "libz.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
X86, ARM = "Advanced Micro Devices X86-64", "AArch64"
# Pages of the kernel: 64 KiB on ARM64 with RHEL 8, openEuler and Kylin V10. A file aligned to less does not load there.
PAGES = {X86: 4096, ARM: 65536}
MACHINES = {"amd64": X86, "x86_64": X86, "arm64": ARM, "aarch64": ARM}


def check(unpacked: Path) -> int:
    """Check every compiled file, and return how many there are.

    Args:
        unpacked: a folder for each package, named as the package's file, which ends with the architecture.
    """
    brought = {path.name for path in unpacked.rglob("*.so*")}
    seen = 0
    for package in sorted(unpacked.iterdir()):
        machine = next((MACHINES[name] for name in MACHINES if package.name.endswith(name)), "nothing compiled")
        for path in _elves(package):
            seen += 1
            command = [
                "readelf",
                "--file-header",
                "--program-headers",
                "--dynamic",
                "--version-info",
                "--wide",
                str(path),
            ]
            facts = subprocess.check_output(command, text=True)
            assert re.search(rf"Machine: +{machine}$", facts, re.MULTILINE), path
            alignments = [int(number, 16) for number in re.findall(r"^ +LOAD .* (0x\w+)$", facts, re.MULTILINE)]
            assert alignments, path
            assert min(alignments) >= PAGES[machine], f"{path} is aligned to {min(alignments)} bytes"
            for library, version in re.findall(r"Name: (GLIBC|GLIBCXX|CXXABI|GCC)_([0-9.]+)", facts):
                assert tuple(map(int, version.split("."))) <= NEWEST[library], f"{path} needs {library}_{version}"
            needed = set(re.findall(r"\(NEEDED\) .*\[(.+)\]", facts))
            assert needed <= SYSTEM | brought, f"{path} needs {needed - SYSTEM - brought}"
    return seen


def _elves(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    yield path
