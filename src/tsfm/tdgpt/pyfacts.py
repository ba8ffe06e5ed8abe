"""Reads TDgpt's taosanode.config.py from its syntax tree, without running it.

Statements are followed in their order. Where the value is known only after running the file (a call, an alias, a
loop, a branch), the value becomes None, and ``models`` as a whole counts as computed.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tsfm.tdgpt import marks

Entry = dict[str, object]


@dataclass
class Facts:
    """The file's assignments at top level; None: a value that is unknown without running the file.

    Attributes:
        names: globals, also those set as ``globals()["name"]``.
        models: the fields of each entry of ``models``, among them port and endpoint.
        generation: the fourth has ``models``.
        computed: the line after which the other entries of ``models`` are unknown; 0: all are known.
    """

    names: dict[str, object] = field(default_factory=dict)
    models: dict[str, Entry] = field(default_factory=dict)
    generation: str = "G3"
    computed: int = 0


def read(text: str, source: str) -> Facts:
    """The file's assignments.

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
            f"{source}: neither tsfm nor TDgpt can read it: {f'line {line}: ' if line else ''}{reason}"
        ) from None
    follower = _Follower()
    follower.run(tree.body, sure=True)
    return follower.facts


class _Follower:
    def __init__(self) -> None:
        self.facts = Facts()

    def run(self, body: Sequence[ast.stmt], sure: bool) -> None:
        """Follow statements; ``sure``: they run exactly once."""
        for statement in body:
            if not self._known(statement, sure):
                self._other(statement)

    def _known(self, node: ast.stmt, sure: bool) -> bool:
        """Follow a statement of a supported form; False: it has another form."""
        match node:
            case ast.Assign(targets, value) if not _mentions(value):
                for target in targets:
                    self._assign(target, value, sure)
            case ast.AnnAssign(target, value=value):
                if value is None:
                    return True  # a type annotation only
                if _mentions(value):
                    return False
                self._assign(target, value, sure)
            case ast.If(test, body, orelse) if not _mentions(test):
                self._either(body, orelse)
            case ast.Try(body, handlers, orelse, finalbody):
                self._either(body, *(handler.body for handler in handlers), orelse, finalbody)
            case ast.With(items, body):
                for item in items:
                    self._other(item)
                self.run(body, sure)
            case ast.Expr(ast.Call() as call) if not any(map(_mentions, (*call.args, *call.keywords))):
                return self._call(call, sure)
            case ast.AugAssign(target, ast.BitOr(), value) if not _mentions(value):
                return self._merge(target, _pairs(value), sure)
            case ast.Delete(targets):
                return sure and all(self._delete(target) for target in targets)
            case _:
                return False
        return True

    def _either(self, *bodies: Sequence[ast.stmt]) -> None:
        for body in bodies:
            self.run(body, sure=False)

    def _other(self, node: ast.AST) -> None:
        """A statement of unknown effect: the names that it binds are unknown, and ``models`` too if it mentions it."""
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and isinstance(part.ctx, (ast.Store, ast.Del)):
                self.facts.names[part.id] = None
            elif isinstance(part, ast.alias):
                self.facts.names[(part.asname or part.name).partition(".")[0]] = None
        stars = isinstance(node, ast.ImportFrom) and any(name.name == "*" for name in node.names)
        if stars or _mentions(node):
            self._unknown(node)

    def _unknown(self, node: ast.AST) -> None:
        self.facts.computed = getattr(node, "lineno", 1)
        self.facts.models = {}
        self.facts.generation = "G4"

    def _assign(self, target: ast.expr, value: ast.expr, sure: bool) -> None:
        facts = self.facts
        match target:
            case ast.Name("models"):
                pairs = _pairs(value)
                if pairs is None or not sure:
                    self._unknown(target)
                else:
                    facts.generation, facts.computed = "G4", 0
                    facts.models = {key: _entry(item) for key, item in pairs}
            case ast.Name(name) | ast.Subscript(ast.Call(ast.Name("globals"), [], []), ast.Constant(str(name))):
                _set(facts.names, name, _constant(value), sure)
            case ast.Subscript(ast.Subscript(ast.Name("models"), ast.Constant(str(family))), ast.Constant(str(name))):
                entry = facts.models.setdefault(family, {"endpoint": None} if facts.computed else {})
                _set(entry, name, _constant(value), sure)
            case ast.Subscript(ast.Name("models"), ast.Constant(str(family))):
                facts.models[family] = _entry(value) if sure else {"port": None}
            case _:
                self._other(target)

    def _call(self, call: ast.Call, sure: bool) -> bool:
        """``models.update(...)`` and its like; any other call that mentions ``models`` nowhere is followed too."""
        match call.func:
            case ast.Attribute(owner, "update"):
                if self._merge(owner, _updates(call), sure):
                    return True
            case ast.Attribute(ast.Name("models"), "pop") if sure and call.args:
                return self._delete(ast.Subscript(ast.Name("models"), call.args[0]))
        return not _mentions(call.func)

    def _merge(self, owner: ast.expr, pairs: list[tuple[str, ast.expr]] | None, sure: bool) -> bool:
        """Take up pairs that are written out, into ``models`` or one of its entries."""
        if pairs is None:
            return False
        match owner:
            case ast.Name("models") | ast.Subscript(ast.Name("models"), ast.Constant(str())):
                for key, value in pairs:
                    self._assign(ast.Subscript(owner, ast.Constant(key)), value, sure)
                return True
        return False

    def _delete(self, target: ast.expr) -> bool:
        match target:
            case ast.Name("models"):
                self.facts.models, self.facts.generation, self.facts.computed = {}, "G3", 0
            case ast.Name(name):
                self.facts.names.pop(name, None)
            case ast.Subscript(ast.Name("models"), ast.Constant(str(family))) if not self.facts.computed:
                self.facts.models.pop(family, None)
            case _:
                return False
        return True


def _set(where: Entry, name: str, value: object, sure: bool) -> None:
    """After a branch a value is known only if both ways give the same."""
    where[name] = value if sure or (name in where and where[name] == value) else None


def _mentions(node: ast.AST) -> bool:
    """Whether running it may change ``models`` or the globals in a way that cannot be followed.

    Reading a value (``models["chronos"]["port"]``), a test for a key, and the length cannot.
    """
    match node:
        case ast.Subscript(ast.Subscript(ast.Name("models"), first), second, ast.Load()):
            return _mentions(first) or _mentions(second)
        case ast.Compare(left, [ast.In() | ast.NotIn()], [ast.Name("models")]):
            return _mentions(left)
        case ast.Call(ast.Name("len"), [ast.Name("models")], []):
            return False
        case ast.Name("models" | "globals" | "exec" | "eval" | "vars" | "locals"):
            return True
        case ast.Global(names):
            return "models" in names
        case ast.alias(name, bound):
            return "models" in (name, bound)
    return any(map(_mentions, ast.iter_child_nodes(node)))


def _pairs(value: ast.expr) -> list[tuple[str, ast.expr]] | None:
    """The pairs of a dict literal; None: it is no dict literal, or a key is no text."""
    if not isinstance(value, ast.Dict):
        return None
    return _named((key.value if isinstance(key, ast.Constant) else None for key in value.keys), value.values)


def _updates(call: ast.Call) -> list[tuple[str, ast.expr]] | None:
    """The pairs in ``.update({...}, name=...)``; None: there may be others."""
    found = _named((word.arg for word in call.keywords), [word.value for word in call.keywords])
    for argument in call.args:
        pairs = _pairs(argument)
        found = None if pairs is None or found is None else pairs + found
    return found


def _named(keys: Iterable[object], values: Sequence[ast.expr]) -> list[tuple[str, ast.expr]] | None:
    pairs = [(key, value) for key, value in zip(keys, values, strict=True) if isinstance(key, str)]
    return pairs if len(pairs) == len(values) else None


def _entry(value: ast.expr) -> Entry:
    pairs = _pairs(value)
    return {"port": None} if pairs is None else {key: _constant(item) for key, item in pairs}


def _constant(value: ast.expr) -> object:
    try:
        found: object = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return found
