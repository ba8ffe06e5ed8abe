"""Classifies one cell: a gap, a number, a time, or text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

GAP, NUMBER, TIME, TEXT = "gap", "number", "time", "text"
SAMPLE = 500  # rows that decide what kind a column is; all rows are read later
# NULL is what TDengine's own command line writes; the rest are those of Excel, pandas, R, MySQL.
GAPS = (
    frozenset(
        ("", "null", "<null>", "(null)", "none", "nil", "missing", "\\n", "-", "--", "\u2013", "\u2014", ".", "?")
    )
    | frozenset(("na", "n/a", "n.a.", "<na>", "nan", "-nan", "1.#qnan", "nat"))
    | frozenset(("#n/a", "#na", "#div/0!", "#value!", "#ref!", "#num!", "#name?", "#null!"))
)
# A special space separates thousands; a plain space may also separate two columns.
_GROUPS = str.maketrans({"\u00a0": "_", "\u202f": "_", "\u2009": "_", "\u2019": "'"})
_SIGN = str.maketrans({"\u2212": "-", "\u2013": "-"})
_NUMBER = re.compile(r"[+-]?(?:[0-9]|[.,][0-9])[0-9.,'_]*(?:[eE][+-]?[0-9]+)?")
_DATE = re.compile(
    r"(?:\d{4}\s*[-/.年]\s*\d{1,2}(?:\s*[-/.月]\s*\d{1,2})?|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2})|"
    r"(?:[A-Za-z]{3,9},?\s+)?\d{1,2}[-\s.]+[A-Za-z]{3,9}\.?[-\s,]+\d{4}|(?:[A-Za-z]{3,9},?\s+)?[A-Za-z]{3,9}\.?\s+\d{1,2},?\s+\d{4})"
    r"(?![0-9])(?:\s*日|[T ].*|$)",
    re.ASCII,
)
_CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s*[AaPp][Mm])?", re.ASCII)


def plain(cell: str) -> str:
    """Full-width digits, special spaces and minus signs in their plain form."""
    text = cell.strip()
    if text.isascii():
        return text
    # "21 °C" contains such a space too, but is no number in either form.
    return unicodedata.normalize("NFKC", text.translate(_GROUPS)).translate(_SIGN).strip()


def is_gap(cell: str) -> bool:
    return cell.strip().casefold() in GAPS


def is_date(cell: str) -> bool:
    return _DATE.match(plain(cell)) is not None


def is_clock(cell: str) -> bool:
    return _CLOCK.fullmatch(plain(cell)) is not None


def is_number(cell: str) -> bool:
    return kind(cell) == NUMBER


def kind(cell: str) -> str:
    """GAP, NUMBER, TIME or TEXT."""
    if is_gap(cell):
        return GAP
    if is_date(cell) or is_clock(cell):
        return TIME
    infinite = plain(cell).lstrip("+-").casefold() in ("inf", "infinity")
    return NUMBER if infinite or _NUMBER.fullmatch(plain(cell)) else TEXT


def mostly(texts: Sequence[str], is_one: Callable[[str], bool]) -> bool:
    """Whether ``is_one`` holds for more than half of a column's filled cells; looks at a sample."""
    filled = [text for text in texts[:: len(texts) // SAMPLE + 1] if text.strip()]
    return sum(map(is_one, filled)) * 2 > len(filled)
