"""What a query must have beside valid names: windows where several rows are put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from engine.sql.ast import Node, Select, Window
from engine.sql.inputs import Relations

_EXAMPLE = "TUMBLINGWINDOW(ss, 10)"


def check_shape(select: Select, relations: Relations) -> None:
    """Refuse clauses that have no meaning in a query of this shape.

    Raises:
        SqlError: which one, and what to do.
    """

    def fail(node: Node, message: str, hint: str = "") -> NoReturn:
        raise relations.error(node, message, hint)

    first, *joined = relations
    if first.role != "stream":
        fail(select.source, f"{first.stream} is a table; FROM takes a stream", "JOIN the table")
    if select.group_by and select.window is None:
        fail(select.group_by[0], "GROUP BY needs a window", f"add one, such as {_EXAMPLE}")
    for join, relation in zip(select.joins, joined, strict=True):
        if relation.role == "stream" and select.window is None:
            hint = f"add GROUP BY {_EXAMPLE}"
            fail(join, f"joining the stream {relation.label} needs a window", hint)
        if join.kind == "CROSS" and join.on is not None:
            fail(join, "CROSS JOIN has no ON", "write INNER JOIN, or use WHERE")
    _check_window(select.window, fail)


def _check_window(window: Window | None, fail: Callable[[Node, str, str], NoReturn]) -> None:
    if window is None:
        return
    if window.when is not None and window.kind != "SLIDING":
        fail(window.when, "only a sliding window takes WHEN", "use FILTER (WHERE …)")
    if window.partition_by and window.kind != "STATE":
        hint = "put the expressions into GROUP BY beside the window"
        fail(window.partition_by[0], "only a state window takes PARTITION BY", hint)
