"""What Debian's and rpm's own critics say of the packages: nothing that is not answered in packaging/lint."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from host.conftest import ROOT

REASONS = ROOT / "packaging" / "lint"


def lint(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    return done.stdout + done.stderr


def test_lintian_has_nothing_to_say(repositories: Path) -> None:
    debs = sorted((repositories / "v1").glob("*.deb"))
    assert debs
    said = lint("lintian", "--allow-root", "--fail-on", "error,warning", *debs)
    assert said == ""


def test_rpmlint_has_nothing_to_say(repositories: Path) -> None:
    rpms = sorted((repositories / "v1").glob("*.rpm"))
    assert rpms
    said = lint("rpmlint", "--config", REASONS / "rpmlint.toml", *rpms)
    assert "0 errors, 0 warnings" in said, said


@pytest.mark.parametrize("path", sorted(REASONS.iterdir()), ids=lambda path: path.name)
def test_every_override_comes_with_its_reason(path: Path) -> None:
    reason = False
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            reason = True
        elif line.strip():
            assert reason, f"{path.name}: no reason above: {line}"
