"""Checks that an environment holds the files of its wheels. Other programs on a build machine may change them.

For example, an administrator's tool adds the company's certificate authority to every certifi bundle it finds.
"""

from __future__ import annotations

import base64
import csv
import hashlib
from pathlib import Path


def altered(packages: Path) -> list[str]:
    """A sentence for each installed file below ``packages`` that differs from the hash in its wheel's RECORD."""
    found = []
    for record in packages.glob("*.dist-info/RECORD"):
        with record.open(newline="", encoding="utf-8") as file:
            for name, digest, _ in csv.reader(file):
                kind, _, expected = digest.partition("=")
                if kind == "sha256" and _record_form(packages / name) != expected:
                    found.append(f"{packages / name}: not the file that {record.parent.name} was published with")
    return found


def seal(tree: Path) -> None:
    """Write the hashes of a finished tree into a file beside it."""
    _beside(tree).write_text("".join(f"{digest}  {name}\n" for name, digest in content(tree).items()))


def intact(tree: Path) -> bool:
    """Whether the tree has the same files as when it was sealed."""
    listed = _beside(tree)
    if not listed.exists():
        return False
    known = dict(reversed(line.split("  ", 1)) for line in listed.read_text().splitlines())
    return known == content(tree)


def _beside(tree: Path) -> Path:
    return tree.with_name(f"{tree.name}.sha256")


def content(tree: Path) -> dict[str, str]:
    """SHA-256 of every file and link by its path below ``tree``."""
    paths = sorted(path for path in tree.rglob("*") if path.is_file() or path.is_symlink())
    return {path.relative_to(tree).as_posix(): _digest(path).hex() for path in paths}


def _digest(path: Path) -> bytes:
    if path.is_symlink():
        return hashlib.sha256(str(path.readlink()).encode()).digest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _record_form(path: Path) -> str:
    return base64.urlsafe_b64encode(_digest(path)).rstrip(b"=").decode() if path.exists() else ""
