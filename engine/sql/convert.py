"""From sqlglot's trees to the syntax tree of the engine: names told apart, values checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from sqlglot import expressions as exp

from engine.errors import Position
from engine.sql import ast
from engine.sql.dialect import Invisible
from engine.sql.grammar import Over
from engine.sql.lexer import Refused
from engine.sql.names import WINDOW_KINDS
from engine.sql.source import SourceText

MAX_DEPTH = 200
"""How many levels an expression may have; what works on trees recurses as deep."""

_INT64_DIGITS = 19
_OPERATORS: dict[type[exp.Expr], str] = {
    exp.Or: "OR",
    exp.And: "AND",
    exp.EQ: "=",
    exp.NEQ: "!=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.Add: "+",
    exp.Sub: "-",
    exp.BitwiseOr: "|",
    exp.BitwiseXor: "^",
    exp.Mul: "*",
    exp.Div: "/",
    exp.Mod: "%",
    exp.BitwiseAnd: "&",
}


def offset_of(node: exp.Expr) -> int:
    """Return where in the text a node stands."""
    start: int = node.meta["start"]
    return start


class Call:
    """A call with what follows it, taken out of the nodes that wrap it."""

    def __init__(self, node: exp.Expr) -> None:
        self.filter: exp.Expr | None = None
        self.over: Over | None = None
        while not isinstance(node, exp.Anonymous):
            if isinstance(node, Over):
                self.over = node
            else:
                self.filter = node.expression.this
            node = node.this
        self.node = node
        self.name: str = node.this
        self.window_kind = WINDOW_KINDS.get(self.name.lower(), "")


class Converter:
    """Converts the expressions of one statement; ``streams`` are the names that qualify columns."""

    def __init__(self, source: SourceText, streams: Iterable[str] = ()) -> None:
        self._source = source
        self._streams = frozenset(streams)
        self._depth = 0

    def at(self, node: exp.Expr) -> Position:
        """Return the position of a node."""
        return self._source.position(offset_of(node))

    def expression(self, node: exp.Expr) -> ast.Expr:
        """Convert an expression that has one value."""
        if is_star(node):
            hint = "* is an item of SELECT or an argument of its own"
            _refuse("* is no value to compute with", node, hint)
        return self.argument(node)

    def argument(self, node: exp.Expr) -> ast.Expr:
        """Convert an expression, or a ``*`` with its EXCEPT and REPLACE."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            hint = "use IN (…) for a long chain of comparisons, or split the rule"
            _refuse(f"the expression has more than {MAX_DEPTH} levels", node, hint)
        if operator := _OPERATORS.get(type(node)):
            tree: ast.Expr = self._binary(node, operator)
        else:
            tree = _CONVERSIONS[type(node)](self, node)
        self._depth -= 1
        return tree

    def optional(self, node: exp.Expr | None) -> ast.Expr | None:
        """Convert an expression that may be absent."""
        return None if node is None else self.expression(node)

    def all(self, nodes: Iterable[exp.Expr] | None) -> tuple[ast.Expr, ...]:
        """Convert a list of expressions."""
        return tuple([self.expression(node) for node in nodes or ()])

    def sort_keys(self, order: exp.Order | None) -> tuple[ast.SortKey, ...]:
        """Convert the keys of ORDER BY."""
        keys = order.expressions if order else ()
        return tuple(
            ast.SortKey(
                expr=self.expression(key.this), descending=key.args["desc"], at=self.at(key)
            )
            for key in keys
        )

    def _binary(self, node: exp.Expr, operator: str) -> ast.Expr:
        left, right = self.expression(node.this), self.expression(node.expression)
        return ast.Binary(op=operator, left=left, right=right, at=self.at(node))

    def _literal(self, node: exp.Literal) -> ast.Expr:
        value = node.this if node.is_string else number(node)
        return ast.Literal(value=value, at=self.at(node))

    def _boolean(self, node: exp.Boolean) -> ast.Expr:
        return ast.Literal(value=node.this, at=self.at(node))

    def _null(self, node: exp.Null) -> ast.Expr:
        return ast.Literal(value=None, at=self.at(node))

    def _column(self, node: exp.Column) -> ast.Expr:
        qualifier: exp.Identifier | None = node.args.get("table")
        at = self.at(node)
        if qualifier and isinstance(node.this, exp.Star):
            self._check_stream(qualifier)
            return self._star(node.this, stream=qualifier.name, at=at)
        name: str = node.this.name
        if qualifier is None:
            return ast.Column(name=name, at=at)
        if qualifier.name in self._streams:
            return ast.Column(name=name, stream=qualifier.name, at=at)
        base = ast.Column(name=qualifier.name, at=at)
        return ast.Field(base=base, name=name, at=self.at(node.this))

    def _check_stream(self, name: exp.Identifier) -> None:
        if name.name not in self._streams:
            known = ", ".join(sorted(self._streams)) or "none"
            _refuse(f"{name.name}.* needs a stream of this query", name, f"there is: {known}")

    def _star(self, node: exp.Star, stream: str = "", at: Position | None = None) -> ast.Expr:
        return ast.Star(
            stream=stream,
            excluded=tuple(name.name for name in node.args.get("except_") or ()),
            replaced=tuple(
                ast.Replacement(expr=self.expression(item.this), name=item.alias, at=self.at(item))
                for item in node.args.get("replace") or ()
            ),
            at=at or self.at(node),
        )

    def _dot(self, node: exp.Dot) -> ast.Expr:
        return ast.Field(
            base=self.expression(node.this), name=node.expression.name, at=self.at(node)
        )

    def _arrow(self, node: exp.JSONExtract) -> ast.Expr:
        return ast.Field(
            base=self.expression(node.this), name=node.expression.this, at=self.at(node)
        )

    def _bracket(self, node: exp.Bracket) -> ast.Expr:
        base = self.expression(node.this)
        index = node.expressions[0]
        if not isinstance(index, exp.Slice):
            return ast.Index(base=base, index=self.expression(index), at=self.at(node))
        start = self.optional(index.args.get("this"))
        stop = self.optional(index.args.get("expression"))
        return ast.Slice(base=base, start=start, stop=stop, at=self.at(node))

    def _paren(self, node: exp.Paren) -> ast.Expr:
        return self.expression(node.this)

    def _negation(self, node: exp.Neg) -> ast.Expr:
        operand = node.this
        if isinstance(operand, exp.Literal) and not operand.is_string:
            return ast.Literal(value=number(operand, sign=-1), at=self.at(node))
        return ast.Unary(op="-", operand=self.expression(operand), at=self.at(node))

    def _not(self, node: exp.Not) -> ast.Expr:
        if convert := _PREDICATES.get(type(node.this)):
            return convert(self, node.this, negated=True)
        return ast.Unary(op="NOT", operand=self.expression(node.this), at=self.at(node))

    def _between(self, node: exp.Between, negated: bool = False) -> ast.Expr:
        return ast.Between(
            value=self.expression(node.this),
            low=self.expression(node.args["low"]),
            high=self.expression(node.args["high"]),
            negated=negated,
            at=self.at(node),
        )

    def _in(self, node: exp.In, negated: bool = False) -> ast.Expr:
        return ast.In(
            value=self.expression(node.this),
            items=self.all(node.expressions),
            source=self.optional(node.args.get("field")),
            negated=negated,
            at=self.at(node),
        )

    def _like(self, node: exp.Like, negated: bool = False) -> ast.Expr:
        value, pattern = self.expression(node.this), self.expression(node.expression)
        return ast.Like(value=value, pattern=pattern, negated=negated, at=self.at(node))

    def _is_null(self, node: exp.Is, negated: bool = False) -> ast.Expr:
        return ast.IsNull(value=self.expression(node.this), negated=negated, at=self.at(node))

    def _case(self, node: exp.Case) -> ast.Expr:
        branches = tuple(
            ast.When(
                condition=self.expression(branch.this),
                result=self.expression(branch.args["true"]),
                at=self.at(branch),
            )
            for branch in node.args["ifs"]
        )
        return ast.Case(
            operand=self.optional(node.args.get("this")),
            branches=branches,
            default=self.optional(node.args.get("default")),
            at=self.at(node),
        )

    def _call(self, node: exp.Expr) -> ast.Expr:
        call = Call(node)
        if call.window_kind:
            hint = "give a window as an item of GROUP BY"
            _refuse(f"a window such as {call.name} stands only in GROUP BY", call.node, hint)
        return ast.Call(
            name=call.name,
            args=tuple([self.argument(argument) for argument in call.node.expressions]),
            filter=self.optional(call.filter),
            over=self._over(call.over) if call.over else None,
            at=self.at(call.node),
        )

    def _over(self, node: Over) -> ast.Over:
        order = node.args.get("order")
        over = ast.Over(
            partition_by=self.all(node.args.get("partition_by")),
            order_by=self.sort_keys(order),
            when=self.optional(node.args.get("when")),
            at=self.at(node),
        )
        if not (over.partition_by or over.order_by or over.when):
            _refuse("OVER is empty", node, "give PARTITION BY, ORDER BY or WHEN, or leave it out")
        return over


def is_star(node: exp.Expr) -> bool:
    """Tell whether a node is ``*`` or ``stream.*``."""
    return isinstance(node, exp.Star) or isinstance(node.args.get("this"), exp.Star)


def is_call(node: exp.Expr) -> bool:
    """Tell whether a node is a call, whatever follows it."""
    return isinstance(node, (exp.Anonymous, exp.Filter, Over))


def output_name(node: exp.Expr) -> str:
    """Return the name that an item without an alias gets from its own text, "" if it gets none."""
    if is_star(node):
        return "*"
    if isinstance(node, exp.Column):
        name: str = node.this.name
        return name
    return Call(node).name if is_call(node) else ""


def unwrapped(item: exp.Expr) -> tuple[exp.Expr, str, bool]:
    """Return the expression of an item of SELECT, its alias and whether it is invisible."""
    is_invisible = isinstance(item, Invisible)
    if is_invisible:
        item = item.this
    if isinstance(item, exp.Alias):
        return item.this, item.alias, is_invisible
    return item, "", is_invisible


def number(node: exp.Literal, sign: int = 1) -> int | float:
    """Return the value of a number in the text."""
    text: str = node.this
    if not text.isdigit():
        value = sign * float(text)
        if math.isinf(value):
            _refuse(f"the number {text} is out of range", node, "a float ends near 1.8e308")
        return value
    # The length comes first: Python refuses to convert very long digits at all.
    if len(text.lstrip("0")) > _INT64_DIGITS or not -(2**63) <= sign * int(text) < 2**63:
        hint = "integers have 64 bits; write it with a point for a float"
        _refuse(f"the integer {text[:40]} is out of range", node, hint)
    return sign * int(text)


def _refuse(message: str, node: exp.Expr, hint: str = "") -> NoReturn:
    raise Refused(message, offset_of(node), hint)


_PREDICATES: dict[type[exp.Expr], Callable[..., ast.Expr]] = {
    exp.Between: Converter._between,
    exp.In: Converter._in,
    exp.Like: Converter._like,
    exp.Is: Converter._is_null,
}
_CONVERSIONS: dict[type[exp.Expr], Callable[[Converter, Any], ast.Expr]] = {
    **_PREDICATES,
    exp.Literal: Converter._literal,
    exp.Boolean: Converter._boolean,
    exp.Null: Converter._null,
    exp.Column: Converter._column,
    exp.Star: Converter._star,
    exp.Dot: Converter._dot,
    exp.JSONExtract: Converter._arrow,
    exp.Bracket: Converter._bracket,
    exp.Paren: Converter._paren,
    exp.Neg: Converter._negation,
    exp.Not: Converter._not,
    exp.Case: Converter._case,
    exp.Anonymous: Converter._call,
    exp.Filter: Converter._call,
    Over: Converter._call,
}
