"""A table of texts."""

from __future__ import annotations

from collections.abc import Sequence


def text(rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell, the names first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
