"""What can be changed in a module's code, one thing at a time: pure, source text in, mutants out.

A mutant is a replacement of one stretch of the text. Docstrings, annotations, messages of errors, assertions (they are
for the type checker), what is marked `no cover` and what another system than Linux runs are left alone: nobody promises
the one, and no test here can see the other.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import Final, NamedTuple

__all__ = ["Mutant", "mutants"]

_COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitXor: ast.BitAnd,
}


class Mutant(NamedTuple):
    """One change: `before`, which stands at byte `start` of the source and in `line`, becomes `after`."""

    line: int
    start: int
    kind: str
    before: str
    after: str
    #: The name of the function or class around it, "" at the top of the module.
    place: str

    def applied(self, source: bytes) -> bytes:
        """The source with this change."""
        end = self.start + len(self.before.encode())
        return source[: self.start] + self.after.encode() + source[end:]


def mutants(source: bytes) -> list[Mutant]:
    """Every mutant of a module that still is Python, in the order of the text."""
    found = sorted(set(_Walk(source).all()))
    return [mutant for mutant in found if mutant.before != mutant.after and _compiles(mutant.applied(source))]


def _compiles(source: bytes) -> bool:
    try:
        compile(source, "mutant", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


class _Walk:
    """Goes through the tree of one module."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._tree = ast.parse(source)
        lines = source.splitlines(keepends=True)
        self._starts = [0]
        for line in lines:
            self._starts.append(self._starts[-1] + len(line))
        self._skipped = {number for number, line in enumerate(lines, 1) if b"pragma: no cover" in line}

    def all(self) -> Iterator[Mutant]:
        yield from self._statements(self._tree.body, "")

    def _at(self, node: ast.expr | ast.stmt, kind: str, after: str, place: str) -> Mutant:
        start = self._starts[node.lineno - 1] + node.col_offset
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        end = self._starts[node.end_lineno - 1] + node.end_col_offset
        return Mutant(node.lineno, start, kind, self._source[start:end].decode(), after, place)

    def _statements(self, body: list[ast.stmt], place: str) -> Iterator[Mutant]:
        for number, statement in enumerate(body):
            if statement.lineno in self._skipped or (number == 0 and _is_text(statement)):
                continue
            yield from self._statement(statement, place)

    def _statement(self, node: ast.stmt, place: str) -> Iterator[Mutant]:
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.Assert, ast.Global, ast.Nonlocal, ast.Pass)):
            return
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            inner = f"{place}.{node.name}".lstrip(".")
            if not isinstance(node, ast.ClassDef):
                for default in (*node.args.defaults, *node.args.kw_defaults):
                    yield from self._expression(default, inner)
            yield from self._statements(node.body, inner)
            return
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.If) and _is_of_a_system(node.test):
            yield from self._statements(node.orelse, place)
            return
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and _names_all(node):
            return
        yield from self._as_a_whole(node, place)
        if not isinstance(node, ast.Raise):  # what an error says
            for part in _parts(node):
                yield from self._expression(part, place)
        for name in ("body", "orelse", "finalbody"):
            yield from self._statements(getattr(node, name, []), place)
        for handler in (*getattr(node, "handlers", []), *getattr(node, "cases", [])):
            yield from self._statements(handler.body, place)

    def _as_a_whole(self, node: ast.stmt, place: str) -> Iterator[Mutant]:
        """The statement left out, or turned."""
        if isinstance(node, ast.Break):
            yield self._at(node, "break", "continue", place)
        elif isinstance(node, ast.Continue):
            yield self._at(node, "continue", "break", place)
        elif isinstance(node, ast.Return):
            if node.value is not None and ast.unparse(node.value) != "None":
                yield self._at(node, "return", "return None", place)
        elif isinstance(node, (ast.Raise, ast.Delete, ast.AugAssign, ast.Expr)):
            yield self._at(node, f"drop {type(node).__name__.lower()}", "pass", place)
        elif isinstance(node, ast.Assign) and any(
            isinstance(each, (ast.Attribute, ast.Subscript)) for each in node.targets
        ):
            yield self._at(node, "drop assign", "pass", place)
        if isinstance(node, ast.AugAssign) and (other := _ARITHMETIC.get(type(node.op))):
            turned = copy.deepcopy(node)
            turned.op = other()
            yield self._at(node, "arithmetic", ast.unparse(turned), place)
        if isinstance(node, (ast.If, ast.While)) and not isinstance(node.test, ast.Constant):
            yield self._at(node.test, "negate", f"not ({ast.unparse(node.test)})", place)

    def _expression(self, node: ast.AST | None, place: str) -> Iterator[Mutant]:
        if node is None or isinstance(node, ast.JoinedStr):  # places in it are known from Python 3.12 only
            return
        if isinstance(node, ast.IfExp) and _is_of_a_system(node.test):
            yield from self._expression(node.orelse, place)
            return
        if isinstance(node, ast.expr):
            for kind, after in _changed(node):
                yield self._at(
                    node, kind, f"({ast.unparse(after)})" if not _is_atom(after) else ast.unparse(after), place
                )
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.expr, ast.comprehension, ast.keyword)):
                yield from self._expression(child, place)
        if isinstance(node, ast.comprehension):
            for test in node.ifs:
                yield self._at(test, "negate", f"(not ({ast.unparse(test)}))", place)


def _changed(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """What may stand in place of an expression."""
    match node:
        case ast.Compare():
            for number, operator in enumerate(node.ops):
                yield "comparison", _with(node, ops=_replaced(node.ops, number, _COMPARISONS[type(operator)]()))
        case ast.BoolOp():
            yield "and/or", _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not()):
            yield "not", node.operand
        case ast.BinOp() if type(node.op) in _ARITHMETIC:
            yield "arithmetic", _with(node, op=_ARITHMETIC[type(node.op)]())
        case ast.IfExp():
            yield "negate", _with(node, test=ast.UnaryOp(ast.Not(), node.test))
        case ast.Subscript(slice=ast.Slice() as bounds):
            for bound in ("lower", "upper"):
                if getattr(bounds, bound) is not None:
                    yield "slice", _with(node, slice=_with(bounds, **{bound: None}))
        case ast.Constant(value=value):
            for other in _other_constants(value):
                yield "constant", ast.Constant(other)


def _other_constants(value: object) -> list[bool | int | float | str | bytes]:
    match value:
        case bool():
            return [not value]
        case int():
            return [value + 1, value - 1]
        case float():
            return [value + 1]
        case str() if value:
            return ["X" + value]
        case bytes() if value:
            return [b"X" + value]
    return []


def _with(node: ast.expr, **parts: object) -> ast.expr:
    made = copy.copy(node)
    for name, part in parts.items():
        setattr(made, name, part)
    return made


def _replaced(operators: list[ast.cmpop], number: int, other: ast.cmpop) -> list[ast.cmpop]:
    return [*operators[:number], other, *operators[number + 1 :]]


def _is_atom(node: ast.expr) -> bool:
    return isinstance(node, (ast.Constant, ast.Name, ast.Subscript, ast.Call, ast.Attribute))


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_of_a_system(test: ast.expr) -> bool:
    return ast.unparse(test).startswith("sys.platform ==")


def _names_all(node: ast.Assign | ast.AnnAssign) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(each, ast.Name) and each.id in {"__all__", "__slots__"} for each in targets)


def _parts(node: ast.stmt) -> Iterator[ast.AST]:
    """The expressions of a statement itself, without its annotation."""
    for name, value in ast.iter_fields(node):
        if name in {
            "annotation",
            "target",
            "targets",
            "decorator_list",
            "body",
            "orelse",
            "finalbody",
            "handlers",
            "cases",
        }:
            continue
        yield from (each for each in (value if isinstance(value, list) else [value]) if isinstance(each, ast.AST))
