"""What a query's own operations say about the kinds of schemaless columns.

``temperature > 50`` makes sense for numbers only, so the decoder may insist on a number and the
compiled code may compare without looking; a row of another kind takes the careful way, which
knows all kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from engine.sql.ast import (
    Alias,
    Between,
    Binary,
    Call,
    Case,
    Column,
    Expr,
    In,
    IsNull,
    Item,
    Like,
    Literal,
    Node,
    Slice,
    Star,
    Supplied,
    Unary,
)
from engine.sql.functions import FunctionRegistry
from engine.sql.kinds import Kind, common_kind, kind_of
from engine.sql.nulls import ColumnKey
from engine.sql.walk import walk

_ARITHMETIC = frozenset("+-*/%")
_VERIFIABLE = frozenset({Kind.NUMBER, Kind.STRING, Kind.BOOLEAN})
"""What the typed decoder can insist on."""
_COMPARISON = frozenset({"=", "!=", "<", "<=", ">", ">="})


def assumed_kinds(
    expressions: Iterable[Node], functions: FunctionRegistry
) -> dict[ColumnKey, Kind]:
    """Return the kinds of the columns for which all uses agree."""
    found = _Evidence(functions)
    for expression in expressions:
        for node in walk(expression):
            found.look_at(node)
    return found.kinds


class _Evidence:
    def __init__(self, functions: FunctionRegistry) -> None:
        self._functions = functions
        self.kinds: dict[ColumnKey, Kind] = {}

    def look_at(self, node: Node) -> None:
        if isinstance(node, Binary):
            self._binary(node)
        elif isinstance(node, Unary):
            self._note(node.operand, Kind.NUMBER if node.op == "-" else Kind.BOOLEAN)
        elif isinstance(node, Between):
            self._alike(node.value, node.low, node.high)
        elif isinstance(node, In):
            self._alike(node.value, *node.items)
        elif isinstance(node, Like):
            self._note(node.value, Kind.STRING)
        elif isinstance(node, Case) and node.operand is not None:
            self._alike(node.operand, *(branch.condition for branch in node.branches))
        elif isinstance(node, Call):
            spec = self._functions.get(node.name)
            if spec is not None and spec.parameters:
                for index, argument in enumerate(node.args):
                    self._note(argument, spec.parameter(index).kind)

    def _binary(self, node: Binary) -> None:
        if node.op in _ARITHMETIC:
            self._note(node.left, Kind.NUMBER)
            self._note(node.right, Kind.NUMBER)
        elif node.op in _COMPARISON:
            self._alike(node.left, node.right)
        elif node.op in ("AND", "OR"):
            self._note(node.left, Kind.BOOLEAN)
            self._note(node.right, Kind.BOOLEAN)

    def _alike(self, *operands: Expr) -> None:
        """Operands that are compared with each other: what one is, all are."""
        kinds = {self._own_kind(operand) for operand in operands} - {Kind.ANY, Kind.NULL}
        if len(kinds) == 1:
            for operand in operands:
                self._note(operand, next(iter(kinds)))

    def _own_kind(self, node: Expr) -> Kind:
        if isinstance(node, Literal):
            kind = kind_of(node.value)
            return Kind.NUMBER if kind.is_numeric else kind
        if isinstance(node, Binary) and node.op in _ARITHMETIC:
            return Kind.NUMBER
        return Kind.ANY

    def _note(self, node: Expr, kind: Kind) -> None:
        if kind.is_numeric:
            kind = Kind.NUMBER
        if not isinstance(node, Column) or kind not in _VERIFIABLE:
            return
        key = node.stream, node.name
        if self.kinds.setdefault(key, kind) != kind:
            self.kinds[key] = Kind.ANY


def literal_values(args: Sequence[Expr]) -> list[object]:
    """Return the values of literal arguments, ``...`` for all others."""
    return [arg.value if isinstance(arg, Literal) else ... for arg in args]


class StaticKinds:
    """The kind of every expression of a query, from the kinds of its columns."""

    def __init__(
        self,
        columns: Mapping[ColumnKey, Kind],
        items: Sequence[Item],
        functions: FunctionRegistry,
        aggregates: Sequence[Call] = (),
    ) -> None:
        """``aggregates`` are the calls that supplied values of aggregates come from."""
        self._aggregates = aggregates
        self._columns = columns
        self._items = items
        self._functions = functions
        self._known: dict[int, Kind] = {}

    def of(self, node: Expr) -> Kind:
        """Return what ``node`` is known to be, null apart."""
        kind = self._known.get(id(node))
        if kind is None:
            kind = self._known[id(node)] = self._infer(node)
        return kind

    def _infer(self, node: Expr) -> Kind:
        match node:
            case Literal(value=value):
                return kind_of(value)
            case Column(stream=stream, name=name):
                return self._columns.get((stream, name), Kind.ANY)
            case Alias(index=index):
                return self.of(self._items[index].expr)
            case Binary():
                return self._binary(node)
            case Unary(op="-", operand=operand):
                kind = self.of(operand)
                return kind if kind.is_numeric else Kind.NUMBER
            case Unary() | Between() | In() | Like() | IsNull():
                return Kind.BOOLEAN
            case Case():
                return self._case(node)
            case Slice():
                return Kind.LIST
            case Star():
                return Kind.OBJECT
            case Call(name=name, args=args):
                return self._call(name, args)
            case Supplied(place="aggregate", index=index) if index < len(self._aggregates):
                return self.of(self._aggregates[index])
        return Kind.ANY

    def _binary(self, node: Binary) -> Kind:
        if node.op in _COMPARISON or node.op in ("AND", "OR"):
            return Kind.BOOLEAN
        if node.op not in _ARITHMETIC:
            return Kind.ANY
        kinds = {self.of(node.left), self.of(node.right)}
        if kinds == {Kind.BIGINT}:
            return Kind.BIGINT
        if node.op in "/%" or Kind.FLOAT in kinds:
            return Kind.FLOAT
        return Kind.NUMBER

    def _case(self, node: Case) -> Kind:
        kind = Kind.NULL if node.default is None else self.of(node.default)
        for branch in node.branches:
            kind = common_kind(kind, self.of(branch.result))
        return kind

    def _call(self, name: str, args: Sequence[Expr]) -> Kind:
        spec = self._functions.get(name)
        if spec is None:
            return Kind.ANY
        return spec.result_kind([self.of(arg) for arg in args], literal_values(args))
