"""Compile packaging/locks/*.txt: pins with hashes, from runtime.in, cuda.in, cli.in, arrow.in, fleet.in, dev.in, every
family's card and every adapter of a maker's package.

``runtime.txt`` is the base environment, ``cuda.txt`` what takes the place of its torch on a GPU. ``<family>.txt`` is
what the family's venv adds to it, ``cli.txt`` is what the command line's venv adds to it, ``arrow.txt`` is what tables
need, and ``dev.txt`` is everything together, but for ``fleet.txt``, what Ray adds to runtime and tables: `make
build/fleet` installs it beside.
``<family>-official.txt`` is what the venv of the maker's package adds to it, in the versions that development tests.
``<family>-official-ahead.txt`` are its packages whose metadata asks for a newer Python than ours.
Existing pins are kept if they still satisfy the input, so a second run changes nothing; ``--upgrade`` pins the newest
versions instead.

TORCH_WHEEL_DIR in the environment is a folder with torch's wheels for other architectures: their hashes are added, and
later runs keep them.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCKS = HERE / "locks"
sys.path.insert(0, str(HERE.parent / "src"))

from tsfm import card, official  # noqa: E402  (the line above adds its path)


def main(arguments: list[str]) -> int:
    upgrade = ["--upgrade"] if "--upgrade" in arguments else []
    shared = _lines("overrides.in")
    runtime = _lines("runtime.in")
    _compile("runtime", runtime, shared, upgrade)
    beyond = ["--constraints", str(LOCKS / "runtime.txt"), *_without_base()]
    shares = {name: version for name, version in pinned("runtime").items() if name != "torch"}
    beside = [*_lines("cuda.in"), *(f"{name}=={version}" for name, version in shares.items())]
    _compile("cuda", beside, shared, [*upgrade, *(f"--no-emit-package={name}" for name in shares)])
    layers = {name: _lines(f"{name}.in") for name in ("cli", "arrow")}
    for name, lines in layers.items():
        _compile(name, lines, shared, [*upgrade, *beyond])
    tables = ["--constraints", str(LOCKS / "arrow.txt"), *(f"--no-emit-package={name}" for name in pinned("arrow"))]
    _compile("fleet", _lines("fleet.in"), shared, [*upgrade, *beyond, *tables])
    cards = [card.read(name) for name in card.names(packaged_only=True)]
    for one in cards:
        _compile(one.name, one.requirements, _laid_over([one]), [*upgrade, *beyond])
    makers = {name: official.environment(name) for name in official.names()}
    everything = [*cards, *makers.values()]
    direct = [*runtime, *chain(*layers.values()), *_lines("dev.in")]
    direct += [line for one in everything for line in one.requirements]
    _compile("dev", direct, [*_laid_over(everything, direct), *_lines("dev-overrides.in")], upgrade)
    tested = ["--constraints", str(LOCKS / "dev.txt"), *_without_base()]
    for name, one in makers.items():
        _compile(f"{name}-official", one.requirements, _laid_over([one]), tested)
        if one.ahead:
            _compile(f"{name}-official-ahead", one.ahead, (), ["--no-deps", "--python-version", official.NEWER])
    return 0


def _without_base() -> list[str]:
    return [f"--no-emit-package={name}" for name in sorted(pinned("runtime"))]


def _laid_over(parts: Iterable[card.Card | official.Environment], direct: Iterable[str] = ()) -> list[str]:
    """The overrides of parts together. One part may drop a package that another one asks for by name."""
    named = {_name(line) for line in direct}
    found = [*_lines("overrides.in"), *(line for one in parts for line in one.overrides)]
    # A marker that is never true removes a package.
    drops = [f"{name} ; python_version < '0'" for one in parts for name in one.dropped if _name(name) not in named]
    return found + drops


def pinned(lock: str) -> dict[str, str]:
    """Names and versions in a lock."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", (LOCKS / f"{lock}.txt").read_text(), re.MULTILINE)
    return dict(found)


def _compile(lock: str, direct: Iterable[str], overrides: Iterable[str], options: Sequence[str]) -> None:
    target = LOCKS / f"{lock}.txt"
    before = target.read_text() if target.exists() else ""
    with tempfile.TemporaryDirectory() as folder:
        requirements, laid_over = Path(folder, "requirements.in"), Path(folder, "overrides.in")
        requirements.write_text("\n".join(sorted(set(direct))) + "\n")
        laid_over.write_text("\n".join(sorted(set(overrides))) + "\n")
        output = Path(folder, "lock.txt")
        output.write_text(before)  # uv prefers the versions pinned here
        arguments = ["pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"]
        arguments += ["--overrides", str(laid_over), "--output-file", str(output), *options, str(requirements)]
        # Empty: not from PyTorch's index of CPU builds.
        environment = os.environ | ({"UV_TORCH_BACKEND": ""} if lock == "cuda" else {})
        subprocess.run(["sh", str(HERE / "uv.sh"), *arguments], env=environment, check=True)
        text = _with_torch(f"# Compiled by packaging/lock.py: do not edit.\n{output.read_text()}")
    target.write_text(text)
    print(f"{target.name}: {len(pinned(lock))} packages{', unchanged' if text == before else ''}")


def _with_torch(lock: str) -> str:
    """The lock with the hashes of torch's wheels in TORCH_WHEEL_DIR: uv adds those of its own architecture only."""
    found = re.search(r"^torch==(\S+) \\\n", lock, re.MULTILINE)
    folder = os.environ.get("TORCH_WHEEL_DIR")
    if not (found and folder):
        return lock
    wheels = Path(folder).glob(f"torch-{found[1]}-cp311-*.whl")
    digests = [hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels]
    lines = "".join(f"    --hash=sha256:{digest} \\\n" for digest in sorted(digests) if digest not in lock)
    return lock[: found.end()] + lines + lock[found.end() :]


def _lines(file: str) -> list[str]:
    lines = (LOCKS / file).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", found.group().lower()) if found else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
