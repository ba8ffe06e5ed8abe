"""Writes forecasts as one HTML file that loads nothing: a plot of each series, and its steps as a table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tsfm import __version__
from tsfm.cli.output import digits, figure
from tsfm.cli.output.figure import HEIGHT, WIDTH, Area, Label
from tsfm.cli.output.terminal import history_of
from tsfm.cli.prediction import Failure, Prediction

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; margin: 2rem auto; max-width: 940px; padding: 0 1rem; }
figure { margin: 0 0 2.5rem; } svg { width: 100%; height: auto; } svg text { font-family: system-ui, sans-serif; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .9rem .15rem 0; text-align: right; } th:first-child, td:first-child { text-align: left; }
th { color: #616e7c; font-weight: 500; } summary { color: #616e7c; cursor: pointer; } .error { color: #a61b1b; }
footer { color: #616e7c; font-size: 13px; }
"""


def html(results: Sequence[Prediction | Failure]) -> str:
    """The page, in the order of the results."""
    body = "\n".join(_failure(one) if isinstance(one, Failure) else _section(one) for one in results)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Forecast</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<style>{_STYLE}</style>\n{body}\n<footer>taos-tsfm {__version__}</footer>\n</html>\n"
    )


def _failure(one: Failure) -> str:
    return f'<p class="error"><strong>{escape(one.item_id)}</strong>: {escape(one.reason)}</p>'


def _section(one: Prediction) -> str:
    name = escape(one.series.item_id, quote=True)
    drawn = "".join(map(_svg, figure.shapes(one)))
    picture = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Forecast of {name}">{drawn}</svg>'
    return (
        f"<figure>\n{picture}\n<figcaption>{escape(one.series.column.summary())}\n"
        f"<details><summary>{len(one.mean)} steps</summary>\n{_table(one)}\n</details></figcaption>\n</figure>"
    )


def _svg(shape: figure.Shape) -> str:
    if isinstance(shape, Label):
        where = f'x="{shape.x}" y="{shape.y}" text-anchor="{shape.anchor}" font-size="{shape.size}"'
        return f'<text {where} fill="{shape.colour}">{escape(shape.text)}</text>'
    points = " ".join(f"{x:g},{y:g}" for x, y in shape.points)
    if isinstance(shape, Area):
        return f'<polygon points="{points}" fill="{shape.colour}"/>'
    line = f'fill="none" stroke="{shape.colour}" stroke-width="{shape.width}" stroke-linejoin="round"'
    return f'<polyline points="{points}" {line}/>'


def _table(one: Prediction) -> str:
    levels = sorted(one.quantiles)
    columns = [one.mean, *(one.quantiles[level] for level in levels)]
    every = [value for column in columns for value in column]
    form = digits.form(digits.step([*history_of(one), *one.median]), max(map(abs, every)))
    names = ["step" if not one.series.ahead else "time", "mean", *(f"{level:g}" for level in levels)]
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = (
        f"<tr><td>{escape(step)}</td>{''.join(f'<td>{value:{form}}</td>' for value in row)}</tr>"
        for step, *row in zip(one.steps, *columns, strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
