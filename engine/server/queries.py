"""What a query refers to, by its text alone."""

from __future__ import annotations

from functools import lru_cache

from engine.errors import SqlError


@lru_cache(maxsize=4096)
def streams_of(sql: str) -> frozenset[str]:
    """Return the streams and tables that a query reads, none if it can't be parsed."""
    from engine.sql.parse import parse_select

    try:
        select = parse_select(sql)
    except SqlError:
        return frozenset()
    return frozenset([select.source.name, *(join.input.name for join in select.joins)])


@lru_cache(maxsize=4096)
def functions_of(sql: str) -> frozenset[str]:
    """Return the functions that a query calls, none if it can't be parsed."""
    from engine.sql.ast import Call
    from engine.sql.parse import parse_select
    from engine.sql.walk import walk

    try:
        select = parse_select(sql)
    except SqlError:
        return frozenset()
    return frozenset(node.name for node in walk(select) if isinstance(node, Call))
