"""What came of the faults of a fleet, by table: in a file of build/, or in the one that the documents are made from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
Facts = dict[str, object]
Tables = dict[str, dict[str, Facts]]


@contextmanager
def written(*tables: str) -> Iterator[Tables]:
    """Tables to fill; at the end they are in the file, beside what other tests have found.

    TSFM_WRITE_DOCS=1: they go into the documents, from which packaging/docs.py makes the tables.
    """
    found: Tables = {name: {} for name in tables}
    yield found
    file = ROOT / ("docs/faults.json" if os.environ.get("TSFM_WRITE_DOCS") == "1" else "build/faults.json")
    file.parent.mkdir(exist_ok=True)
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(known | found, indent=1) + "\n")


def shown(seen: Facts) -> Facts:
    """Without the answers that were wrong: the tests' messages have those."""
    return {name: value for name, value in seen.items() if name != "words"}
