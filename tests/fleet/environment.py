"""The environment with Ray that `make build/fleet` makes, for the tests of a fleet."""

from __future__ import annotations

import os

import pytest
from conftest import HERE

PYTHON = HERE.parent / "build/fleet/bin/python"
# Where all tests have to run, its lack is a failure.
needs_ray = pytest.mark.skipif(not PYTHON.exists() and not os.environ.get("CI"), reason="Ray: run make build/fleet")
