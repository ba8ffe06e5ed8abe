"""Finds systemctl."""

from __future__ import annotations

import shutil

from tsfm import paths


def find() -> str | None:
    """Its path; None where systemd does not run, such as in most containers."""
    program = shutil.which("systemctl")
    return program if program and (paths.ROOT / "run/systemd/system").is_dir() else None
