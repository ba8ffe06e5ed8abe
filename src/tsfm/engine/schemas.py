"""Pieces of JSON schemas and of examples, from which the tasks and the OpenAPI description are built."""

from __future__ import annotations

import math

Json = dict[str, object]
TEXT: Json = {"type": "string"}
WHOLE: Json = {"type": "integer"}
FLOATS: Json = {"type": "array", "items": {"type": "number"}}
TIME: Json = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
# At least one value is observed; the others may be missing.
GAPPY: Json = {"type": "array", "items": {"type": ["number", "null"]}}
NUMBERS: Json = GAPPY | {"contains": {"type": "number"}}
WARNINGS: Json = {
    "warnings": {"type": "array", "items": TEXT, "minItems": 1, "description": "only where there is a warning"}
}


def rows(array: Json, least: int, most: int) -> Json:
    """An array of at least and at most so many items."""
    return array | {"minItems": least, "maxItems": most}


def structure(required: Json, optional: Json | None = None) -> Json:
    """An object with these properties."""
    return {"type": "object", "required": list(required), "properties": required | (optional or {})}


def wave(points: int) -> list[float]:
    """An example's series."""
    return [round(10 + 5 * math.sin(i / 4), 2) for i in range(points)]
