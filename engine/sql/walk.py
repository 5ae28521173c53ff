"""Visiting and rebuilding syntax trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from engine.sql.ast import Binary, Expr, Node

N = TypeVar("N", bound=Node)


def children(node: Node) -> Iterator[Node]:
    """Yield the nodes directly below ``node``, in the order of the text."""
    for name in node.__struct_fields__:
        value = getattr(node, name)
        if isinstance(value, Node):
            yield value
        elif type(value) is tuple:  # not a Position
            for item in value:
                if isinstance(item, Node):
                    yield item


def walk(node: Node) -> Iterator[Node]:
    """Yield ``node`` and all nodes below it, in the order of the text."""
    waiting = [node]
    while waiting:
        found = waiting.pop()
        yield found
        waiting += [*children(found)][::-1]


def rebuild(node: N, change: Callable[[Any], Any]) -> N:
    """Return ``node`` with ``change`` applied to each node directly below it."""
    changed: dict[str, Any] = {}
    for name in node.__struct_fields__:
        value = getattr(node, name)
        if isinstance(value, Node):
            changed[name] = change(value)
        elif type(value) is tuple:  # not a Position
            changed[name] = tuple(
                change(item) if isinstance(item, Node) else item for item in value
            )
    return msgspec.structs.replace(node, **changed) if changed else node


def conjuncts(condition: Expr | None) -> list[Expr]:
    """Return the terms of a condition that are joined by AND at its top."""
    if condition is None:
        return []
    if isinstance(condition, Binary) and condition.op == "AND":
        return [*conjuncts(condition.left), *conjuncts(condition.right)]
    return [condition]
