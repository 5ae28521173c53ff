"""A slow, obvious interpreter of expressions: what the compiled code must agree with."""

from __future__ import annotations

from typing import Any

from engine.sql import operators as op
from engine.sql.ast import (
    Alias,
    Between,
    Binary,
    Call,
    Case,
    Column,
    Expr,
    Field,
    In,
    Index,
    IsNull,
    Like,
    Literal,
    Slice,
    Unary,
)
from engine.sql.functions import builtins
from engine.sql.infer import StaticKinds
from engine.sql.kinds import Kind

_BINARY = {
    "+": op.add,
    "-": op.subtract,
    "*": op.multiply,
    "/": op.divide,
    "%": op.modulo,
    "&": op.bit_and,
    "|": op.bit_or,
    "^": op.bit_xor,
    "=": op.equal,
    "!=": op.unequal,
    "<": op.less,
    "<=": op.less_equal,
    ">": op.greater,
    ">=": op.greater_equal,
}


class Interpreter:
    """Evaluates bound expressions over one row; an error is raised as RowError."""

    def __init__(self, items: tuple[Any, ...], row: dict[str, Any]) -> None:
        self._items = items
        self._row = row
        self._kinds = StaticKinds({}, items, builtins())

    def value(self, node: Expr) -> Any:
        match node:
            case Literal(value=value):
                return value
            case Column(name=name):
                return self._row.get(name)
            case Alias(index=index):
                return self.value(self._items[index].expr)
            case Unary(op="-", operand=operand):
                return op.negate(self.value(operand))
            case Unary(operand=operand):
                return op.negated(self.value(operand))
            case Binary(op="AND", left=left, right=right):
                return op.truth(self.value(left)) and op.truth(self.value(right))
            case Binary(op="OR", left=left, right=right):
                first = self.value(left)
                return first is not None and (op.truth(first) or op.truth(self.value(right)))
            case Binary():
                return self._binary(node)
            case Between(value=value, low=low, high=high, negated=negated):
                return op.between(self.value(value), self.value(low), self.value(high), negated)
            case In(value=value, items=items, source=None, negated=negated):
                return op.within(self.value(value), [self.value(item) for item in items], negated)
            case In(value=value, source=source, negated=negated) if source is not None:
                return op.within(self.value(value), self.value(source), negated)
            case Like(value=value, pattern=pattern, negated=negated):
                return op.like(self.value(value), self.value(pattern), negated)
            case IsNull(value=value, negated=negated):
                return (self.value(value) is None) is not negated
            case Case():
                return self._case(node)
            case Field(base=base, name=name):
                return op.field(self.value(base), name)
            case Index(base=base, index=index):
                return op.element(self.value(base), self.value(index))
            case Slice(base=base, start=start, stop=stop):
                bounds = [None if part is None else self.value(part) for part in (start, stop)]
                return op.part(self.value(base), *bounds)
            case Call(name=name, args=args):
                spec = builtins().get(name)
                assert spec is not None
                return spec.checked()(*[self.value(argument) for argument in args])
        raise AssertionError(node)

    def _binary(self, node: Binary) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        if self._kinds.of(node.left) == self._kinds.of(node.right) == Kind.BIGINT:
            if node.op == "/":
                return op.divide_ints(left, right)
            if node.op == "%":
                return op.modulo_ints(left, right)
            value = _BINARY[node.op](left, right)
            return op.wrap(value) if node.op in "+-*" and value is not None else value
        return _BINARY[node.op](left, right)

    def _case(self, node: Case) -> Any:
        operand = None if node.operand is None else self.value(node.operand)
        for branch in node.branches:
            condition = self.value(branch.condition)
            matches = op.truth(condition) if node.operand is None else op.equal(operand, condition)
            if matches:
                return self.value(branch.result)
        return None if node.default is None else self.value(node.default)
