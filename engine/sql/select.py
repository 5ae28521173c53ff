"""The clauses of a SELECT as sqlglot's tree, to the engine's syntax tree."""

from __future__ import annotations

from sqlglot import expressions as exp

from engine.errors import Position
from engine.sql import ast
from engine.sql.convert import Call, Converter, is_call, number, offset_of, output_name, unwrapped
from engine.sql.lexer import Refused
from engine.sql.source import SourceText
from engine.sql.windows import window

_UNNAMED = "kuiper_field_"  # the reference's name for items without one; users' sinks expect it


def to_select(tree: exp.Select, source: SourceText) -> ast.Select:
    """Return the query that a tree stands for."""
    first = _input(tree.args["from_"].this, source)
    joined = [_input(join.this, source) for join in tree.args.get("joins") or ()]
    names = {name for entry in (first, *joined) for name in (entry.name, entry.alias) if name}
    convert = Converter(source, names)
    where, having = tree.args.get("where"), tree.args.get("having")
    group_window, group_by = _group(tree.args.get("group"), convert)
    return ast.Select(
        items=_items(tree.expressions, convert),
        source=first,
        joins=_joins(tree, joined, convert),
        where=convert.expression(where.this) if where else None,
        window=group_window,
        group_by=group_by,
        having=convert.expression(having.this) if having else None,
        order_by=convert.sort_keys(tree.args.get("order")),
        limit=_limit(tree.args.get("limit")),
        at=convert.at(tree),
    )


def _input(table: exp.Table, source: SourceText) -> ast.Input:
    at: Position = source.position(offset_of(table))
    return ast.Input(name=table.this.name, alias=table.alias, at=at)


def _joins(tree: exp.Select, inputs: list[ast.Input], convert: Converter) -> tuple[ast.Join, ...]:
    return tuple(
        ast.Join(
            kind=join.args["kind"],
            input=entry,
            on=convert.optional(join.args.get("on")),
            at=convert.at(join),
        )
        for join, entry in zip(tree.args.get("joins") or (), inputs, strict=True)
    )


def _items(nodes: list[exp.Expr], convert: Converter) -> tuple[ast.Item, ...]:
    items: list[ast.Item] = []
    unnamed = 0
    for node in nodes:
        tree, alias, is_invisible = unwrapped(node)
        expr = convert.argument(tree)
        name = alias or output_name(tree)
        if not name:
            name = f"{_UNNAMED}{unnamed}"
            unnamed += 1
        items.append(
            ast.Item(expr=expr, name=name, alias=alias, invisible=is_invisible, at=expr.at)
        )
    return tuple(items)


def _group(
    group: exp.Group | None, convert: Converter
) -> tuple[ast.Window | None, tuple[ast.Expr, ...]]:
    found: ast.Window | None = None
    keys: list[ast.Expr] = []
    for node in group.expressions if group else ():
        call = Call(node) if is_call(node) else None
        if not (call and call.window_kind):
            keys.append(convert.expression(node))
        elif found:
            raise Refused(
                "a query has one window",
                offset_of(call.node),
                hint="let a second rule read what the first one emits",
            )
        else:
            found = window(call, convert)
    return found, tuple(keys)


def _limit(limit: exp.Limit | None) -> int | None:
    if not limit:
        return None
    # A negative limit is no limit, as in the reference.
    value = None if isinstance(limit.expression, exp.Neg) else number(limit.expression)
    return None if value is None else int(value)
