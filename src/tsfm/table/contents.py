"""What the cells of a column of a table hold."""

from __future__ import annotations

from tsfm.table import cells
from tsfm.table.cells import SAMPLE
from tsfm.table.rows import Rows


def filled(table: Rows, index: int) -> bool:
    """At least one cell is not empty."""
    return any(text.strip() for text in table.column(index))


def is_numeric(table: Rows, index: int) -> bool:
    """Only numbers and gaps; looks at the first rows."""
    return all(cells.kind(text) in (cells.NUMBER, cells.GAP) for text in table.column(index)[:SAMPLE])


def is_text(table: Rows, index: int) -> bool:
    """Only words, such as states; a number with a unit does not count as a word."""
    words = _texts(table, index)
    return bool(words) and not any(character.isdigit() for word in words for character in word)


def is_constant(table: Rows, index: int) -> bool:
    """The same number in all rows: such a column is a state if another column changes."""
    return is_numeric(table, index) and len(_texts(table, index)) == 1


def changes(table: Rows, index: int) -> bool:
    """Numbers that are not all the same."""
    return is_numeric(table, index) and len(_texts(table, index)) > 1


def _texts(table: Rows, index: int) -> set[str]:
    """The texts of a column, without gaps."""
    return {text for text in table.column(index) if not cells.is_gap(text)}
