"""Modules and functions stay short enough to be read at once."""

from __future__ import annotations

import ast

from conftest import HERE

SOURCE = HERE.parent / "src/tsfm"
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 250, 40
# Longer ones, each with its reason; what gets shorter is taken out.
LONG_MODULES = {
    "families/chronos.py": "the card lists six checkpoints",
    "official/moirai.py": "two kinds of models, and the pins that uni2ts needs",
    "nets/fracast.py": "one network, as published",
    "nets/moirai_encoder.py": "one network, as published",
    "tdgpt/reconcile.py": "one step over all of TDgpt's files",
    "weights/identify.py": "the table of what files say about models",
}
LONG_FUNCTIONS = {
    "numerics/conformal.py intervals": "one computation, whose array shapes the docstring gives",
    "weights/importer.py install": "one sequence of steps of which none may be left out",
}


def source() -> dict[str, str]:
    return {path.relative_to(SOURCE).as_posix(): path.read_text() for path in sorted(SOURCE.rglob("*.py"))}


def test_only_named_modules_are_longer_than_the_limit() -> None:
    assert {name for name, text in source().items() if len(text.splitlines()) > MOST_LINES} == set(LONG_MODULES)


def test_only_named_functions_are_longer_than_the_limit() -> None:
    long = {
        f"{name} {node.name}"
        for name, text in source().items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= MOST_LINES_OF_A_FUNCTION
    }
    assert long == set(LONG_FUNCTIONS)
