"""A page of results as one file that loads nothing: the chart of the service's page, with its script and style inside.

The policy in the file lets its own script and style run, by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

from tsfm import __version__
from tsfm.cli.output.plot import Layer, Plot, Table
from tsfm.cli.prediction import Failure
from tsfm.http.page.files import STATIC

OWN = Path(__file__).parent / "report_files"
MODULES = ("texts.js", "elements.js", "chart.js", "report.js")  # each imports only those before it
_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./(\w+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:const|let|class|(?:async )?function) (\w+))", re.MULTILINE)
_STYLE = """
.report { display: block; max-width: 1080px; } .report > * { margin-bottom: 16px; }
.report .card > :last-child { margin-top: 10px; }
"""


@dataclass(frozen=True)
class Report:
    """What a page shows, from the top: the summary, a table, a plot for each series or why there is none."""

    title: str
    plots: Sequence[Plot | Failure]
    summary: str = ""
    table: Table | None = None


def html(report: Report) -> str:
    """The page."""
    style = _read("uplot.css") + _read("style.css") + _STYLE
    library, script = _read("uplot.js"), _script()
    policy = (
        f"default-src 'none'; script-src {_hash(library)} {_hash(script)}; style-src {_hash(style)}; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return "\n".join(
        (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(report.title)}</title>\n<!--\n{_read('LICENSES.txt')}-->\n<style>{style}</style>\n</head>",
            f'<body>\n<main class="report">\n<h1>{escape(report.title)}</h1>',
            *_sections(report),
            f'<p class="hint">taos-tsfm {__version__}</p>\n</main>',
            f'<script>{library}</script>\n<script type="module">{script}</script>\n</body>\n</html>\n',
        )
    )


def _sections(report: Report) -> Iterator[str]:
    if report.table:
        yield f'<section class="card">{_table(report.table)}<p class="hint">{escape(report.summary)}</p></section>'
    for one in report.plots:
        yield _failure(one) if isinstance(one, Failure) else _card(one)


def _failure(one: Failure) -> str:
    return f'<p class="message error"><strong>{escape(one.item_id)}</strong>{escape(one.reason)}</p>'


def _card(plot: Plot) -> str:
    name = escape(plot.name)
    # A string in JSON may hold a tag's end or a comment's begin: "<" is only inside of strings.
    data = json.dumps(_fields(plot), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f'<section class="card" data-plot>\n<div class="head"><h2>{name}</h2>'
        f'<div class="tools" role="toolbar" data-label="chart_tools"></div></div>\n'
        f'<div class="chart" role="img" aria-label="{escape(f"{plot.name}: {plot.caption}")}"></div>\n'
        f'<script type="application/json">{data}</script>\n<p class="hint">{escape(plot.caption)}</p>\n'
        f'<details><summary data-text="numbers">Numbers</summary>{_table(plot.table)}</details>\n</section>'
    )


def _fields(plot: Plot) -> dict[str, object]:
    return {
        "name": plot.name,
        "xs": plot.xs,
        "timed": plot.timed,
        "values": plot.values,
        "layers": [_layer(layer) for layer in plot.layers],
        "marks": plot.marks,
        "shown": plot.shown,
    }


def _layer(layer: Layer) -> dict[str, object]:
    lines = {"xs": layer.xs, "median": layer.median, "lower": layer.lower, "upper": layer.upper}
    return {"name": layer.name, "dashed": layer.dashed, **lines}


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col"{_key(name)}>{escape(name)}</th>' for name in table.names)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in table.rows)
    return (
        '<div class="scroll tall" tabindex="0" role="region" data-label="numbers"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table></div>"
    )


def _key(name: str) -> str:
    """The attribute that has a word written in the reader's language, if the page knows the word."""
    return f' data-text="{name}"' if re.search(rf"^    {re.escape(name)}: ", _read("texts.js"), re.MULTILINE) else ""


@cache
def _script() -> str:
    """The modules as one script: each a function that returns what it exports."""
    parts = [_module(Path(name).stem, _read(name)) for name in MODULES]
    return f"const modules = {{}};\n{''.join(parts)}"


def _module(name: str, text: str) -> str:
    exported = ", ".join(_EXPORT.findall(text))
    body = _EXPORT.sub("", _IMPORT.sub(r"const \1 = modules.\2;", text))
    return f"modules.{name} = (() => {{\n{body}\nreturn {{ {exported} }};\n}})();\n"


@cache
def _read(name: str) -> str:
    own = OWN / name
    return (own if own.exists() else STATIC / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
