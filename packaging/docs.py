"""Write the documents' tables from their one source: `python packaging/docs.py` renews them in place."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from tsfm import card, settings  # noqa: E402  the path comes first
from tsfm.tdgpt import database  # noqa: E402


def families() -> str:
    """One row a family."""
    rows = [
        "| family | key in SQL | port | checkpoints (parameters, file) | memory | can | licence |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in card.names(packaged_only=True):
        c = card.read(name)
        weights = ", ".join(f"{w.name} ({_parameters(w.parameters)}, {_size(w.bytes)})" for w in c.checkpoints)
        can = sorted({ability.replace("_", " ") for w in c.checkpoints for ability in w.capabilities})
        rows.append(
            f"| {name} | `{c.keys[0]}` | {c.port} | {weights or 'in the package'} | {c.memory_mib} MiB "
            f"| {', '.join(can) or c.task} | {c.licence} |"
        )
    return "\n".join(rows)


def keys(table: dict[str, settings.Key] = settings.KEYS) -> str:
    """One row a setting."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    rows += [f"| `{name}` | {key.default or '-'} | {key.meaning} |" for name, key in table.items()]
    return "\n".join(rows)


def access() -> str:
    """The section [tdengine]."""
    return keys(database.KEYS)


def manual(table: dict[str, settings.Key] = settings.KEYS) -> str:
    """One paragraph a setting, for tsfm.ini(5)."""
    return "\n".join(
        f".TP\n.B {name}\n{_sentence(key.meaning)} Default: {key.default or 'empty'}." for name, key in table.items()
    )


def manual_access() -> str:
    """The section [tdengine], for tsfm.ini(5)."""
    return manual(database.KEYS)


# (file, first mark, last mark, what stands between them)
PLACES = [
    ("README.md", "<!-- families -->", "<!-- /families -->", families),
    ("README.md", "<!-- settings -->", "<!-- /settings -->", keys),
    ("docs/families.md", "<!-- families -->", "<!-- /families -->", families),
    ("docs/settings.md", "<!-- settings -->", "<!-- /settings -->", keys),
    ("docs/registration.md", "<!-- tdengine -->", "<!-- /tdengine -->", access),
    ("man/tsfm.ini.5", '.\\" settings', '.\\" /settings', manual),
    ("man/tsfm.ini.5", '.\\" tdengine', '.\\" /tdengine', manual_access),
]


def renewed(name: str) -> str:
    """The text of a document with its tables written anew between their marks."""
    text = (ROOT / name).read_text(encoding="utf-8")
    for file, first, last, table in PLACES:
        if file == name:
            before, found, rest = text.partition(first + "\n")
            _, closed, after = rest.partition(last)
            if not (found and closed):
                raise SystemExit(f"{name}: expected the marks {first} and {last}")
            text = before + found + table() + "\n" + closed + after
    return text


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _parameters(count: int) -> str:
    return f"{count / 1e6:.0f} M" if count >= 1e7 else f"{count / 1e6:.1f} M"


if __name__ == "__main__":
    for document in sorted({file for file, *_ in PLACES}):
        new = renewed(document)
        (ROOT / document).write_text(new, encoding="utf-8")
