"""Converts texts to numbers: the column itself must prove its decimal sign, or the user gives it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from tsfm.errors import UsageError
from tsfm.table import cells

PLAIN = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
GROUPED = {
    sign: re.compile(rf"([+-]?[0-9]{{1,3}}(?:(['_{other}])[0-9]{{3}})(?:\2[0-9]{{3}})*)({re.escape(sign)}[0-9]*)?")
    for sign, other in ((".", ","), (",", "."))
}
SWAPPED = str.maketrans(".,", ",.")
INFINITE = ("inf", "infinity")


def read(
    file: str, name: str, texts: Sequence[str], lines: Sequence[int], given: str | None, separator: str
) -> tuple[list[float | None], str]:
    """The column's numbers, None for a gap, and its decimal sign.

    Args:
        file, name: the file and the column, as errors name them.
        given: the decimal sign; None: found.

    Raises:
        UsageError: a cell is no number, or can be read as two different numbers.
    """
    plain = [cells.plain(text) for text in texts]
    positions = [f"{file}: line {line}, column {name}" for line in lines]
    sign = given or decimal(plain, positions, separator)
    values = [_number(cell, text, sign) for text, cell in zip(plain, positions, strict=True)]
    return values, sign


def _number(cell: str, text: str, sign: str) -> float | None:
    if cells.is_gap(text):
        return None
    if grouped := GROUPED[sign].fullmatch(text):
        text = re.sub(r"[^0-9+-]", "", grouped[1]) + (grouped[3] or "").replace(sign, ".")
    elif sign == ",":
        # In a column of decimal commas a point is valid only between thousands.
        text = text.translate(SWAPPED)
    if not PLAIN.fullmatch(text):
        text = text.translate(SWAPPED) if sign == "," else text
        if text.lstrip("+-").casefold() in INFINITE:
            raise UsageError(f"{cell}: expected a finite number, got infinity")
        raise UsageError(f"{cell}: expected a number, got {text[:40]!r}{_hint(text)}")
    value = float(text)
    if math.isinf(value):
        raise UsageError(f"{cell}: expected a number up to 1.8e308, got infinity ({text[:40]})")
    return value


def _hint(text: str) -> str:
    unit = re.fullmatch(r"[+-]?[0-9][0-9.,]*\s*([^0-9\s].{0,9})", text)
    return f"; take {unit[1]!r} out of the cells" if unit else ""


def decimal(texts: Sequence[str], positions: Sequence[str], separator: str) -> str:
    """The decimal sign that at least one cell proves; a point if none proves any.

    Raises:
        UsageError: cells prove both, or a number may be one or another.
    """
    proof: dict[str, int] = {}
    doubtful: dict[str, int] = {}
    for at, text in enumerate(texts):
        if found := _proves(text):
            proof.setdefault(found, at)
        elif match := re.fullmatch(r"[+-]?[1-9][0-9]{0,2}([.,])[0-9]{3}", text):
            doubtful.setdefault(match[1], at)
    if len(proof) == 2:
        first, second = sorted(proof.values())
        raise UsageError(
            f"{positions[second]}: expected the decimal sign of {texts[first][:40]!r} above, got {texts[second][:40]!r}"
        )
    if proof:
        return next(iter(proof))
    hundreds = any(re.fullmatch(r"[+-]?[0-9]{3,}", text) for text in texts)
    for sign, at in doubtful.items():
        if sign == "," or separator == ";" or hundreds:
            text = texts[at]
            raise UsageError(
                f"{positions[at]}: {text} may be {text.replace(sign, '')} or {text.replace(sign, '.')}; give "
                "the decimal sign: --decimal . or --decimal ,"
            )
    return "."


def _proves(text: str) -> str | None:
    """The only decimal sign that fits a cell's form; None if it has no sign or both fit."""
    point, comma = text.count("."), text.count(",")
    if point + comma > 1:
        return next((sign for sign, form in GROUPED.items() if form.fullmatch(text)), None)
    if not re.fullmatch(r"[+-]?[0-9'_]*[.,][0-9]*(?:[eE][+-]?[0-9]+)?", text):
        return None
    if re.fullmatch(r"[+-]?[1-9][0-9]{0,2}[.,][0-9]{3}", text):
        return None
    return "." if point else ","
