"""The CPython that the packages bring, built by python/build.sh once for each content of its inputs.

``interpreter.py`` builds it for ARCH and prints its folder. ``interpreter.py update`` pins the newest sources that the
Debian suite delivers, and measures the profile anew. ``interpreter.py check`` fails if the suite lists newer ones.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import architecture

HERE = Path(__file__).resolve().parent
LOCK = HERE / "locks" / "python.txt"
ZIG = HERE / "locks" / "ziglang.txt"
RELEASE = HERE / "python" / "release"  # a number, the last part of the package's version; every update adds one
PROFILE = HERE / "python" / "profile.tar.xz"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taos-tsfm" / "python"
PREFIX = "/usr/lib/taos-tsfm/python"
PROGRAM = Path("bin/python3.11")
THIS = platform.machine()  # x86_64 or aarch64
HEAD = "# Sources of taos-tsfm-python: name, Debian's version, SHA-256 of the .dsc. Written by make python-update."


def main(arguments: list[str]) -> int:
    match arguments:
        case ["update"]:
            update()
        case ["check"]:
            check()
        case []:
            print(tree(architecture.machine()))
        case _:
            raise SystemExit("expected nothing, update or check")
    return 0


def tree(arch: str = THIS) -> Path:
    """The finished interpreter for ``arch``; built when its inputs are new."""
    finished = CACHE / f"{arch}-{_key(arch)}"
    if not finished.is_dir():
        print(f"building the interpreter for {arch}, which takes some minutes", file=sys.stderr)
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="build-") as folder:
            build(Path(folder), arch)
            shutil.rmtree(_tests(finished), ignore_errors=True)
            os.replace(Path(folder, "tests"), _tests(finished))
            os.replace(Path(folder, "python"), finished)
    return finished


def own_tests(arch: str = THIS) -> Path:
    """CPython's tests of that interpreter; they run where they are laid over its lib/python3.11."""
    return _tests(tree(arch))


def _tests(finished: Path) -> Path:
    return finished.with_name(f"{finished.name}.tests")


def build(folder: Path, arch: str = THIS, **environment: str) -> None:
    """Build the interpreter in ``folder``/python and its tests in ``folder``/tests, without the cache."""
    command = ["sh", str(HERE / "python" / "build.sh"), str(folder), arch]
    subprocess.run(command, env=os.environ | environment, check=True)


def sources(tree: Path) -> dict[str, str]:
    """Debian's version of each source that the interpreter in ``tree`` was built from."""
    return dict(line.split() for line in (tree / "SOURCES").read_text().splitlines())


def pinned() -> dict[str, str]:
    """Debian's version of each source, from the lock."""
    rows = (line.split() for line in LOCK.read_text().splitlines() if not line.startswith("#"))
    return {name: version for name, version, _ in rows}


def version() -> str:
    """The version of the package taos-tsfm-python: CPython's, and the number of the release."""
    return f"{pinned()['python3.11'].partition('-')[0]}+{RELEASE.read_text().strip()}"


def update() -> None:
    """Pin the newest sources that the suite delivers, and measure the profile that they are compiled with."""
    with tempfile.TemporaryDirectory(prefix="tsfm-python-") as folder:
        newest = Path(folder, "newest.txt")
        # No source has the version "newest", so build.sh takes the newest that the mirror delivers.
        newest.write_text("".join(f"{name} newest -\n" for name in pinned()))
        build(Path(folder), LOCK=str(newest), PROFILE="new")
        rows = Path(folder, "work", "sources.txt").read_text()
        PROFILE.write_bytes(Path(folder, "profile.tar.xz").read_bytes())
    LOCK.write_text(f"{HEAD}\n{rows}")
    RELEASE.write_text(f"{int(RELEASE.read_text()) + 1}\n")
    print(rows, end="")


def check() -> None:
    """Stop a release that lacks a security fix.

    Raises:
        SystemExit: the suite lists a newer version than the lock, or the interpreter was built from another version.
    """
    command = ["sh", str(HERE / "python" / "newest.sh"), *pinned()]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    built = sources(tree(architecture.machine()))
    late = []
    for name, newest, state in (line.split() for line in listed.splitlines()):
        if newest != pinned()[name]:
            remedy = "run: make python-update"
            if state != "delivered":
                remedy = "this mirror lists it but does not deliver it: set DEBIAN_MIRROR=URL to one that does"
            late.append(f"{name}: {pinned()[name]} is pinned, {newest} is the newest; {remedy}")
        if built[name] != pinned()[name]:
            late.append(f"{name}: {pinned()[name]} is pinned, but the interpreter was built from {built[name]}")
    if late:
        raise SystemExit("\n".join(["no release without the newest security fixes:", *late]))


def _key(arch: str) -> str:
    inputs = [*sorted(HERE.joinpath("python").iterdir()), LOCK, ZIG]
    digest = hashlib.sha256(arch.encode())
    for path in inputs:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
