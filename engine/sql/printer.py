"""Syntax tree to text that parses to the same tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.sql import ast
from engine.sql.names import UNIT_MILLIS, quoted

_OR, _AND, _NOT, _COMPARISON, _SUM, _PRODUCT, _SIGN, _PATH = range(1, 9)
_RANKS = {
    "OR": _OR,
    "AND": _AND,
    **dict.fromkeys(("=", "!=", "<", "<=", ">", ">="), _COMPARISON),
    **dict.fromkeys("+-|^", _SUM),
    **dict.fromkeys("*/%&", _PRODUCT),
}
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SWITCHES = ("STRICT_VALIDATION", "SHARED", "TEMP")


def to_sql(node: ast.Node) -> str:
    """Return the text of a statement, or of an expression, a window or a type.

    Positions apart, ``parse(to_sql(statement)) == statement`` for every tree that comes from a
    text.
    """
    if printer := _STATEMENTS.get(type(node)):
        return printer(node)
    return _expression(node)


def _expression(node: ast.Node, floor: int = 0) -> str:
    """Print an expression, in brackets if it binds weaker than its place asks for."""
    text = _EXPRESSIONS[type(node)](node)
    return f"({text})" if _rank(node) < floor else text


def _rank(node: ast.Node) -> int:
    match node:
        case ast.Binary(op=operator):
            return _RANKS[operator]
        case ast.Unary(op="NOT"):
            return _NOT
        case ast.Between() | ast.In() | ast.Like() | ast.IsNull():
            return _COMPARISON
        case ast.Unary():
            return _SIGN
        case ast.Literal(value=int() | float() as number) if _literal(number).startswith("-"):
            return _SIGN
    return _PATH


def _list(nodes: tuple[ast.Node, ...]) -> str:
    return ", ".join(map(_expression, nodes))


def _literal(value: float | str | bool | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return f'"{"".join(map(_escaped, value))}"'
    return repr(value)


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    return char if char >= " " else f"\\u{ord(char):04x}"


def _column(node: ast.Column) -> str:
    return f"{quoted(node.stream)}.{quoted(node.name)}" if node.stream else quoted(node.name)


def _field(node: ast.Field) -> str:
    return f"{_expression(node.base, _PATH)}->{quoted(node.name)}"


def _index(node: ast.Index) -> str:
    return f"{_expression(node.base, _PATH)}[{_expression(node.index)}]"


def _slice(node: ast.Slice) -> str:
    start = _expression(node.start) if node.start else ""
    stop = _expression(node.stop) if node.stop else ""
    return f"{_expression(node.base, _PATH)}[{start}:{stop}]"


def _unary(node: ast.Unary) -> str:
    if node.op == "NOT":
        return f"NOT {_expression(node.operand, _NOT)}"
    operand = _expression(node.operand, _PATH)
    # A sign in front of a number would make one literal of both.
    is_number = isinstance(node.operand, ast.Literal) and operand[0] in "0123456789"
    return f"-({operand})" if is_number else f"-{operand}"


def _binary(node: ast.Binary) -> str:
    rank = _RANKS[node.op]
    return f"{_expression(node.left, rank)} {node.op} {_expression(node.right, rank + 1)}"


def _predicate(value: ast.Node, negated: bool, rest: str) -> str:
    return f"{_expression(value, _COMPARISON)} {'NOT ' if negated else ''}{rest}"


def _between(node: ast.Between) -> str:
    bounds = f"{_expression(node.low, _SUM)} AND {_expression(node.high, _SUM)}"
    return _predicate(node.value, node.negated, f"BETWEEN {bounds}")


def _in(node: ast.In) -> str:
    members = f"({_list(node.items)})" if node.source is None else _expression(node.source, _PATH)
    return _predicate(node.value, node.negated, f"IN {members}")


def _like(node: ast.Like) -> str:
    return _predicate(node.value, node.negated, f"LIKE {_expression(node.pattern, _SUM)}")


def _is_null(node: ast.IsNull) -> str:
    return f"{_expression(node.value, _COMPARISON)} IS {'NOT ' if node.negated else ''}NULL"


def _case(node: ast.Case) -> str:
    branches = [
        f"WHEN {_expression(branch.condition)} THEN {_expression(branch.result)}"
        for branch in node.branches
    ]
    operand = f" {_expression(node.operand)}" if node.operand else ""
    default = f" ELSE {_expression(node.default)}" if node.default else ""
    return f"CASE{operand} {' '.join(branches)}{default} END"


def _star(node: ast.Star) -> str:
    text = f"{quoted(node.stream)}.*" if node.stream else "*"
    if node.excluded:
        text += f" EXCEPT({', '.join(map(quoted, node.excluded))})"
    if node.replaced:
        items = [f"{_expression(item.expr)} AS {quoted(item.name)}" for item in node.replaced]
        text += f" REPLACE({', '.join(items)})"
    return text


def _call(node: ast.Call) -> str:
    text = f"{quoted(node.name)}({_list(node.args)})"
    if node.filter:
        text += f" FILTER(WHERE {_expression(node.filter)})"
    if node.over:
        over = node.over
        text += f" OVER ({_over(over.partition_by, over.order_by, over.when)})"
    return text


def _over(
    partition_by: tuple[ast.Expr, ...], order_by: tuple[ast.SortKey, ...], when: ast.Expr | None
) -> str:
    parts = []
    if partition_by:
        parts.append(f"PARTITION BY {_list(partition_by)}")
    if order_by:
        parts.append(f"ORDER BY {_sort_keys(order_by)}")
    if when:
        parts.append(f"WHEN {_expression(when)}")
    return " ".join(parts)


def _sort_keys(keys: tuple[ast.SortKey, ...]) -> str:
    return ", ".join(_expression(key.expr) + (" DESC" if key.descending else "") for key in keys)


def _window(node: ast.Window) -> str:
    if node.kind == "STATE":
        arguments = _list(tuple(part for part in (node.begin, node.emit) if part))
    else:
        lengths = (
            node.lengths[:1] if node.kind == "SLIDING" and not node.lengths[1] else node.lengths
        )
        numbers = [str(length // UNIT_MILLIS.get(node.unit, 1)) for length in lengths]
        arguments = ", ".join(([node.unit] if node.unit else []) + numbers)
    text = f"{node.kind}WINDOW({arguments})"
    if node.filter:
        text += f" FILTER(WHERE {_expression(node.filter)})"
    over = _over(node.partition_by, (), node.when)
    return f"{text} OVER ({over})" if over else text


def _item(item: ast.Item) -> str:
    text = _expression(item.expr)
    if item.alias:
        text += f" AS {quoted(item.alias)}"
    elif isinstance(item.expr, ast.Field) and item.name == item.expr.name:
        # Only ``a.b`` with a column ``a`` takes its name from the field; ``a->b`` has none.
        text = f"{_expression(item.expr.base, _PATH)}.{quoted(item.expr.name)}"
    elif isinstance(item.expr, (ast.Column, ast.Call)) and item.name != item.expr.name:
        text = f"({text})"
    return f"{text} INVISIBLE" if item.invisible else text


def _input(node: ast.Input) -> str:
    return quoted(node.name) + (f" AS {quoted(node.alias)}" if node.alias else "")


def _join(node: ast.Join) -> str:
    text = f"{node.kind} JOIN {_input(node.input)}"
    return f"{text} ON {_expression(node.on)}" if node.on else text


def _select(node: ast.Select) -> str:
    groups = ([_window(node.window)] if node.window else []) + list(map(_expression, node.group_by))
    clauses = [
        f"SELECT {', '.join(map(_item, node.items))}",
        f"FROM {_input(node.source)}",
        *map(_join, node.joins),
        f"WHERE {_expression(node.where)}" if node.where else "",
        f"GROUP BY {', '.join(groups)}" if groups else "",
        f"HAVING {_expression(node.having)}" if node.having else "",
        f"ORDER BY {_sort_keys(node.order_by)}" if node.order_by else "",
        f"LIMIT {node.limit}" if node.limit is not None else "",
    ]
    return " ".join(filter(None, clauses))


def _type(node: ast.Node) -> str:
    match node:
        case ast.ArrayType(element=element):
            return f"ARRAY({_type(element)})"
        case ast.StructType(fields=fields):
            return f"STRUCT({', '.join(map(_field_def, fields))})"
        case ast.ScalarType(name=name):
            return name
    raise TypeError(f"{type(node).__name__} is not a type")


def _field_def(node: ast.FieldDef) -> str:
    text = f"{quoted(node.name)} {_type(node.type)}"
    return f"{text} DEFAULT {_literal(node.default)}" if node.has_default else text


def _create(node: ast.CreateStream) -> str:
    options = [
        f"{name}={value.upper() if name in _SWITCHES else _literal(value)}"
        for name, value in node.options.items()
    ]
    fields = ", ".join(map(_field_def, node.fields))
    return f"CREATE {node.kind} {quoted(node.name)} ({fields}) WITH ({', '.join(options)})"


def _manage(node: ast.Manage) -> str:
    return (
        f"SHOW {node.kind}S"
        if node.verb == "SHOW"
        else f"{node.verb} {node.kind} {quoted(node.name)}"
    )


_EXPRESSIONS: dict[type[ast.Node], Callable[[Any], str]] = {
    ast.Literal: lambda node: _literal(node.value),
    ast.Column: _column,
    ast.Field: _field,
    ast.Index: _index,
    ast.Slice: _slice,
    ast.Unary: _unary,
    ast.Binary: _binary,
    ast.Between: _between,
    ast.In: _in,
    ast.Like: _like,
    ast.IsNull: _is_null,
    ast.Case: _case,
    ast.Star: _star,
    ast.Call: _call,
}
_STATEMENTS: dict[type[ast.Node], Callable[[Any], str]] = {
    ast.Select: _select,
    ast.CreateStream: _create,
    ast.Manage: _manage,
    ast.Window: _window,
    ast.ScalarType: _type,
    ast.ArrayType: _type,
    ast.StructType: _type,
}
