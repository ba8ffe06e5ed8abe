"""TDgpt's taosanode.config.py (third and fourth generation): our block at its end.

The file is executed by TDgpt, so later assignments win and nothing above the block is touched. It is
never executed here: what it says is read from its syntax tree.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tsfm.registration import endpoints, marks
from tsfm.registration.endpoints import Endpoint
from tsfm.registration.marks import Edit

_INSTEAD = "# instead of: "


@dataclass
class Facts:
    """What the file assigns at its top level; None: a value that only running it would tell.

    Attributes:
        names: globals, also those set as ``globals()["name"]``.
        models: what is said of each entry of ``models``, its port and endpoint among it.
        generation: the fourth has ``models``.
        computed: ``models`` is there, but not written out as a dict.
    """

    names: dict[str, object] = field(default_factory=dict)
    models: dict[str, dict[str, object]] = field(default_factory=dict)
    generation: str = "G3"
    computed: bool = False

    def url(self, endpoint: Endpoint) -> str | None:
        """The URL that TDgpt would use for the key; None when the file says none; "" when it is computed."""
        entry = self.models.get(endpoint.family)
        if entry is not None and entry.get("port") is not None:
            port, path = entry["port"], entry.get("endpoint", "/ds_predict")
            return f"http://127.0.0.1:{port}{path}"
        for name in (endpoint.key, endpoint.key.replace("-", "_")):
            if name in self.names:
                value = self.names[name]
                return value if isinstance(value, str) else ""
        return "" if self.computed or (entry and "port" in entry) else None


def register(text: str, wanted: Sequence[Endpoint], source: str) -> Edit:
    """The text with exactly the wanted families registered, whatever of ours it held before.

    Raises:
        Refused: it is not valid Python; the message says where.
    """
    stripped = marks.strip(text, source)
    base, remarks = marks.ended(stripped.text)
    facts = read(base, source)
    edit = Edit(text)
    body: list[str] = []
    for endpoint in wanted:
        said = facts.url(endpoint)
        instead = f"{_INSTEAD}{endpoint.key} = {said}"
        if said in (None, endpoint.url):
            body += _assignments(endpoint, facts)
        elif instead in stripped.ours:
            body += [instead, *_assignments(endpoint, facts)]
        elif said and endpoints.may_replace(endpoint, said):
            edit.notes.append(marks.replaced(source, endpoint.key, said, endpoint.url))
            body += [instead, *_assignments(endpoint, facts)]
        else:
            edit.notes.append(marks.kept(source, endpoint.key, said or "(computed)", endpoint.url))
    edit.text = stripped.text
    if body:
        edit.text = base + "".join(marks.block([marks.WHO, *remarks, *body], marks.line_end(base)))
        read(edit.text, source)
    return edit


def _assignments(endpoint: Endpoint, facts: Facts) -> list[str]:
    key, name = endpoint.key, endpoint.key.replace("-", "_")
    rows = []
    if endpoint.family in facts.models:
        entry = f'models["{endpoint.family}"]'
        # TDgpt makes http://127.0.0.1:PORT of the entry; without a port it takes the global below.
        here = endpoint.host in ("127.0.0.1", "localhost")
        rows.append(f'{entry}["port"] = {endpoint.port if here else None}')
        rows.append(f'{entry}["endpoint"] = "{endpoint.path}"')
        if here and key.isidentifier():
            return rows
    rows.append(f'{name} = "{endpoint.url}"')
    if not key.isidentifier():
        # No name in Python, yet what TDgpt's client asks for.
        rows.append(f'globals()["{key}"] = {name}')
    return rows


def read(text: str, source: str) -> Facts:
    """What the file assigns.

    Raises:
        Refused: it is not valid Python.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # not our code to warn about
            tree = ast.parse(text.encode("utf-8", "surrogateescape"))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        reason = getattr(error, "msg", str(error))
        raise marks.Refused(
            f"{source}: TDgpt cannot read it either: {f'line {line}: ' if line else ''}{reason}"
        ) from None
    facts = Facts()
    for target, value in _assigned(tree.body):
        _note(facts, target, value)
    return facts


def _assigned(body: Sequence[ast.stmt]) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Every (target, value) that running the file may assign globally."""
    for statement in body:
        if isinstance(statement, ast.Assign):
            yield from ((target, statement.value) for target in statement.targets)
        elif isinstance(statement, ast.AnnAssign) and statement.value:
            yield statement.target, statement.value
        elif isinstance(statement, (ast.If, ast.Try, ast.With)):
            for part in ("body", "orelse", "finalbody"):
                yield from _assigned(getattr(statement, part, []))


def _note(facts: Facts, target: ast.expr, value: ast.expr) -> None:
    match target:
        case ast.Name("models"):
            facts.generation = "G4"
            facts.models = _models(value)
            facts.computed = not isinstance(value, ast.Dict)
        case ast.Name(name) | ast.Subscript(ast.Call(ast.Name("globals")), ast.Constant(str(name))):
            facts.names[name] = _constant(value)
        case ast.Subscript(ast.Subscript(ast.Name("models"), ast.Constant(str(family))), ast.Constant(str(field_name))):
            facts.models.setdefault(family, {})[field_name] = _constant(value)
        case ast.Subscript(ast.Name("models"), ast.Constant(str(family))):
            facts.models[family] = _entry(value)


def _models(value: ast.expr) -> dict[str, dict[str, object]]:
    if not isinstance(value, ast.Dict):
        return {}
    pairs = zip(value.keys, value.values, strict=True)
    return {str(key.value): _entry(entry) for key, entry in pairs if isinstance(key, ast.Constant)}


def _entry(value: ast.expr) -> dict[str, object]:
    if not isinstance(value, ast.Dict):
        return {"port": None}
    pairs = zip(value.keys, value.values, strict=True)
    return {str(key.value): _constant(item) for key, item in pairs if isinstance(key, ast.Constant)}


def _constant(value: ast.expr) -> object:
    return value.value if isinstance(value, ast.Constant) else None
