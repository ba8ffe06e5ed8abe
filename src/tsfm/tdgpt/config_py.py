"""TDgpt's taosanode.config.py (third and fourth generation): our block at its end.

TDgpt executes the file, so later assignments win, and nothing above the block is changed.
"""

from __future__ import annotations

from collections.abc import Sequence

from tsfm.tdgpt import endpoints, marks, pyfacts
from tsfm.tdgpt.endpoints import Endpoint
from tsfm.tdgpt.marks import Edit
from tsfm.tdgpt.pyfacts import Facts

_INSTEAD = "# instead of: "
_COMPUTED = ""
"""A URL that is unknown without running the file."""


def register(text: str, selected: Sequence[Endpoint], source: str) -> Edit:
    """The text with exactly these families registered, whatever lines of ours it had before.

    Raises:
        Refused: it is not valid Python; the message names the line.
    """
    stripped = marks.strip(text, source)
    base, remarks = marks.with_line_end(stripped.text)
    facts = pyfacts.read(base, source)
    edit = Edit(text)
    body: list[str] = []
    for endpoint in selected:
        current = url(facts, endpoint)
        instead = f"{_INSTEAD}{endpoint.key} = {current}"
        if current in (None, endpoint.url):
            body += _assignments(endpoint, facts)
        elif instead in stripped.ours:
            body += [instead, *_assignments(endpoint, facts)]
        elif current and endpoints.may_replace(endpoint, current):
            edit.notes.append(marks.replaced_note(source, endpoint.key, current, endpoint.url))
            body += [instead, *_assignments(endpoint, facts)]
        else:
            edit.notes.append(_unchanged_note(facts, endpoint, current or "", source))
    edit.text = stripped.text
    if body:
        edit.text = base + "".join(marks.block([marks.HEADING, *remarks, *body], marks.line_end(base)))
        pyfacts.read(edit.text, source)
    return edit


def _assignments(endpoint: Endpoint, facts: Facts) -> list[str]:
    key, name = endpoint.key, endpoint.key.replace("-", "_")
    rows = []
    if endpoint.family in facts.models:
        entry = f'models["{endpoint.family}"]'
        # TDgpt builds http://127.0.0.1:PORT from the entry; without a port it uses the global below.
        here = endpoint.host in ("127.0.0.1", "localhost")
        rows.append(f'{entry}["port"] = {endpoint.port if here else None}')
        rows.append(f'{entry}["endpoint"] = "{endpoint.path}"')
        if here and key.isidentifier():
            return rows
    rows.append(f'{name} = "{endpoint.url}"')
    if not key.isidentifier():
        # It is no valid name in Python, but TDgpt's client looks it up.
        rows.append(f'globals()["{key}"] = {name}')
    return rows


def url(facts: Facts, endpoint: Endpoint) -> str | None:
    """The URL that TDgpt would use for the key; None when the file has none; "" when it is computed."""
    entry = facts.models.get(endpoint.family, {})
    if entry.get("port") is not None:
        path = entry.get("endpoint", "/ds_predict")
        return f"http://127.0.0.1:{entry['port']}{path}" if isinstance(path, str) else _COMPUTED
    # TDgpt knows no other models than those; a computed ``models`` may contain any of them.
    if "port" in entry or (facts.computed and endpoint.key in endpoints.KNOWN_KEYS):
        return _COMPUTED
    for name in (endpoint.key, endpoint.key.replace("-", "_")):
        if name in facts.names:
            value = facts.names[name]
            return value if isinstance(value, str) else _COMPUTED
    return None


def _unchanged_note(facts: Facts, endpoint: Endpoint, current: str, source: str) -> str:
    if current or not facts.computed or endpoint.family in facts.models:
        return marks.unchanged_note(source, endpoint.key, current or "(computed)", endpoint.url)
    entry = f'models["{endpoint.family}"].update(port={endpoint.port}, endpoint="{endpoint.path}")'
    return (
        f"{source}: line {facts.computed} computes `models`, so {endpoint.key} = (computed) is kept; "
        f"to use {endpoint.url}, write `{entry}` at the end of the file and run `tsfm register`"
    )
