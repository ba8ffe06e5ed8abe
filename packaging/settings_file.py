"""Write etc/tsfm.ini from the table of settings: every key with its meaning and default, all commented out."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "etc" / "tsfm.ini"
sys.path.insert(0, str(ROOT / "src"))

from tsfm import card, kinds, settings  # noqa: E402  (the line above adds its path)
from tsfm.fleet import balancer, cluster  # noqa: E402
from tsfm.tdgpt import database  # noqa: E402

HEAD = """\
# Settings of the services tsfm@FAMILY. A line here holds for all families when it stands in [DEFAULT], and for
# one when it stands in that family's section. What is commented out has the value shown.
# After a change: systemctl restart tsfm@FAMILY

[DEFAULT]
"""


def text() -> str:
    """The expected text of the file."""
    example = card.read("fracast")
    parts = [HEAD, *_keys(settings.KEYS)]
    parts.append(f"# A section for one family:\n#[{example.name}]\n#port = {example.port}\n")
    parts += [f"# Hosts that serve together: tsfm balancer apply\n[{settings.BALANCER}]\n", *_keys(balancer.KEYS)]
    parts += [f"# Hosts among which models move by themselves: tsfm fleet init, join, apply\n[{settings.FLEET}]\n"]
    parts += _keys(cluster.KEYS)
    parts += [f"# Where the database is, for `tsfm register`.\n[{database.SECTION}]\n", *_keys(database.KEYS)]
    return "\n".join(parts)


def _keys(table: dict[str, kinds.Key]) -> list[str]:
    """One paragraph per key."""
    paragraphs = []
    for name, key in table.items():
        meaning = textwrap.fill(key.meaning, 100, initial_indent="# ", subsequent_indent="# ")
        paragraphs.append(f"{meaning}\n#{name} = {key.default}".rstrip() + "\n")
    return paragraphs


if __name__ == "__main__":
    FILE.write_text(text())
