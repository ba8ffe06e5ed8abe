"""TDgpt's taosanode.ini (first and second generation): our lines in its section [tsfm-service]."""

from __future__ import annotations

import configparser
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tsfm.tdgpt import endpoints, marks
from tsfm.tdgpt.endpoints import Endpoint
from tsfm.tdgpt.marks import Edit

SECTION = "tsfm-service"


@dataclass
class Layout:
    """The positions of the section and its options in the file; lines count from 0.

    Attributes:
        options: the section's lines by key, in lower case as TDgpt's reader sees them.
        values: their values, continuation lines joined by a line feed.
        after: new options are inserted before this line; None: the section does not exist.
    """

    options: dict[str, int] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    after: int | None = None


def register(text: str, selected: Sequence[Endpoint], source: str, from_template: bool = False) -> Edit:
    """The text with exactly these families registered, whatever lines of ours it had before.

    Args:
        from_template: the file is new; we made it.

    Raises:
        Refused: TDgpt's own reader cannot read the file; the message names the line.
    """
    stripped = marks.strip(text, source)
    base, remarks = marks.with_line_end(stripped.text)
    eol = marks.line_end(base)
    rows = marks.lines(base)
    layout = read(base, source)
    edit = Edit(text)
    body = []
    for endpoint in selected:
        action = _decide(endpoint, layout, _taken(stripped.ours), edit, source)
        if action == "replace":
            row = layout.options[endpoint.key]
            rows[row] = marks.BEGIN + eol + marks.WAS + rows[row] + marks.END + eol
        if action != "keep":
            body.append(f"{endpoint.key} = {endpoint.url}")
    origin = [marks.FROM_TEMPLATE] if from_template or stripped.from_template else []
    if not body and not origin:
        edit.text = stripped.text
        return edit
    head = [marks.HEADING, *origin, *remarks]
    insert_at = len(rows) if layout.after is None else layout.after
    section = [f"[{SECTION}]"] if layout.after is None else []
    rows[insert_at:insert_at] = marks.block([*head, *section, *body], eol)
    edit.text = "".join(rows)
    return edit


def _decide(endpoint: Endpoint, layout: Layout, taken: set[str], edit: Edit, source: str) -> str:
    """ "add", "replace" or "keep", decided by the file's own value for the key."""
    current = layout.values.get(endpoint.key)
    if current is None:
        return "add"
    if current == endpoint.url:
        return "keep"
    plain = "\n" not in current
    if plain and endpoint.key in taken:
        return "replace"
    if plain and endpoints.may_replace(endpoint, current):
        edit.notes.append(marks.replaced_note(source, endpoint.key, current, endpoint.url))
        return "replace"
    where = f"{source}: line {layout.options[endpoint.key] + 1}"
    edit.notes.append(marks.unchanged_note(where, endpoint.key, " ".join(current.split()), endpoint.url))
    return "keep"


def _taken(ours: Sequence[str]) -> set[str]:
    """Keys whose line we replaced before: whether to replace it is not decided again."""
    replaced = (line[len(marks.WAS) :] for line in ours if line.startswith(marks.WAS))
    return {min(line.split("=")[0], line.split(":")[0], key=len).strip().lower() for line in replaced}


def read(text: str, source: str) -> Layout:
    """The section's layout, found with the parser that TDgpt itself uses.

    Raises:
        Refused: the parser cannot read the file.
    """
    rows = marks.lines(text)
    tracer = _Tracer()
    try:
        tracer.read_file(tracer.feed(rows), source)
    except configparser.Error as error:
        raise marks.Refused(f"{source}: neither tsfm nor TDgpt can read it: {' '.join(str(error).split())}") from None
    layout = Layout()
    if not tracer.has_section(SECTION):
        return layout
    layout.options = {key: row for section, key, row in tracer.option_rows if section == SECTION}
    layout.values = {key: tracer.get(SECTION, key) for key in layout.options}
    first = next(row for name, row in tracer.headers if name == SECTION)
    end = min((row for _, row in tracer.headers if row > first), default=len(rows))
    filled = [row for row in range(first, end) if rows[row].strip() and rows[row].strip()[0] not in "#;"]
    layout.after = filled[-1] + 1
    return layout


class _Tracer(configparser.RawConfigParser):
    """Python's parser, which also records the line of each header and each option."""

    def __init__(self) -> None:
        super().__init__()
        self.row = 0
        self.reading = False
        self.headers: list[tuple[str, int]] = []
        self.option_rows: list[tuple[str, str, int]] = []
        self.SECTCRE = _Headers(self)  # type: ignore[assignment]  # the documented hook; only match() is used

    def feed(self, rows: Sequence[str]) -> Iterator[str]:
        self.reading = True
        for self.row, line in enumerate(rows):
            yield line.rstrip("\r\n") + "\n"
        self.reading = False

    def optionxform(self, optionstr: str) -> str:
        key = super().optionxform(optionstr)
        if self.reading:
            section = self.headers[-1][0] if self.headers else ""
            self.option_rows.append((section, key, self.row))
        return key


class _Headers:
    def __init__(self, tracer: _Tracer) -> None:
        self._tracer = tracer

    def match(self, value: str) -> object:
        found = configparser.RawConfigParser.SECTCRE.match(value)
        if found:
            self._tracer.headers.append((found.group("header"), self._tracer.row))
        return found
