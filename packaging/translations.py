"""Record the version of the English page from which a Chinese page was written.

A Chinese page has ``<!-- source: ../weights.md sha256: HASH -->`` below its heading. If it were above the heading, the
site would not use the heading as the page's title. When the English page changes, the hash no longer matches and
tests/test_translations.py fails. Update the Chinese page, then run

    python packaging/translations.py                      # every Chinese page
    python packaging/translations.py docs/zh/weights.md   # this one
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAD = re.compile(r"^<!-- source: (?P<source>\S+) sha256: (?P<hash>[0-9a-f]{64}|new) -->\n", re.MULTILINE)
# The tables that packaging/docs.py generates change with the code; a test compares the Chinese tables with the code.
GENERATED = re.compile(r"<!-- (?P<name>\w+) -->\n.*?<!-- /(?P=name) -->\n", re.DOTALL)


def pages() -> list[Path]:
    """The Chinese pages."""
    return sorted([*(ROOT / "docs" / "zh").glob("*.md"), *ROOT.glob("README.zh-CN.md")])


def source(page: Path) -> Path:
    """The English page from which a Chinese page was written."""
    return (page.parent / _head(page)["source"]).resolve()


def recorded(page: Path) -> str:
    """The hash recorded in a Chinese page; "new" before the first run."""
    return _head(page)["hash"]


def digest(page: Path) -> str:
    """SHA-256 of an English page's words, without line breaks and generated tables."""
    words = GENERATED.sub("", page.read_text(encoding="utf-8")).split()
    return hashlib.sha256(" ".join(words).encode()).hexdigest()


def renew(page: Path) -> bool:
    """Record the current hash of the source; False if it is already recorded."""
    if recorded(page) == (found := digest(source(page))):
        return False
    head = f"<!-- source: {_head(page)['source']} sha256: {found} -->\n"
    page.write_text(HEAD.sub(head, page.read_text(encoding="utf-8"), count=1), encoding="utf-8")
    return True


def main(names: Sequence[str]) -> None:
    for page in [Path(name).resolve() for name in names] or pages():
        if renew(page):
            print(f"{page.relative_to(ROOT)}: renewed")


def _head(page: Path) -> re.Match[str]:
    head = HEAD.search(page.read_text(encoding="utf-8"))
    if not head:
        raise SystemExit(f"{page}: expected a line <!-- source: PAGE sha256: HASH -->")
    return head


if __name__ == "__main__":
    main(sys.argv[1:])
