"""`make fleet`: what it shows to a person, and its exit status."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from conftest import HERE
from fleet.lab import needs_haproxy

pytestmark = [pytest.mark.long, needs_haproxy]


def test_it_forecasts_through_the_balancer_and_loses_nothing_when_a_host_is_killed():
    assert "$(PYTHON) -m tools.fleet\n" in (HERE.parent / "Makefile").read_text()
    done = subprocess.run([sys.executable, "-m", "tools.fleet"], cwd=HERE.parent, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "before 2 hosts that serve naive: 127.0.0.2, 127.0.0.3" in done.stdout
    assert "forecast   9.000, 9.000, 9.000" in done.stdout
    asked, lost, crossed = map(
        int, re.search(r"(\d+) requests, (\d+) lost, (\d+) with the answer", done.stdout).groups()
    )
    assert asked > 100
    assert (lost, crossed) == (0, 0)
