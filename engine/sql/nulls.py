"""What the form of an expression tells about nulls in it."""

from __future__ import annotations

from collections.abc import Container

from engine.sql.ast import Between, Binary, Column, Expr, In, Like, Literal, Unary

ARITHMETIC = frozenset("+-*/%")
COMPARISON = frozenset({"=", "!=", "<", "<=", ">", ">="})
ColumnKey = tuple[str, str]
"""Stream and name of a column."""
FIRST, BOTH = range(1), range(2)
"""Places of operands."""


def trusted_places(comparison: Binary) -> Container[int]:
    """Return the operands whose being null can't make a comparison true.

    Ordering raises for null. ``null == literal`` is false, as it should be, but two nulls are equal
    in Python, and ``!=`` is true for them.
    """
    if comparison.op == "!=":
        return ()
    if comparison.op != "=":
        return BOTH
    return (
        BOTH
        if isinstance(comparison.right, Literal) and comparison.right.value is not None
        else (1,)
    )


def proven_not_null(condition: Expr) -> frozenset[ColumnKey]:
    """Return the columns that can't be null where ``condition`` is true."""
    if isinstance(condition, Binary):
        if condition.op == "AND":
            return proven_not_null(condition.left) | proven_not_null(condition.right)
        if condition.op in COMPARISON:
            return _strict_columns(condition.left) | _strict_columns(condition.right)
    if isinstance(condition, Between):
        return frozenset().union(
            *(map(_strict_columns, (condition.value, condition.low, condition.high)))
        )
    if isinstance(condition, (In, Like)):
        return _strict_columns(condition.value)
    return frozenset()


def _strict_columns(node: Expr) -> frozenset[ColumnKey]:
    """Return the columns whose being null makes ``node`` null."""
    if isinstance(node, Column):
        return frozenset({(node.stream, node.name)})
    if isinstance(node, Binary) and node.op in ARITHMETIC:
        return _strict_columns(node.left) | _strict_columns(node.right)
    if isinstance(node, Unary) and node.op == "-":
        return _strict_columns(node.operand)
    return frozenset()
