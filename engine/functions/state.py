"""Functions that remember what a query did before (function catalogue, sections 12 and 16).

Each call in a query remembers for itself.
"""

from __future__ import annotations

from typing import Any

from engine.sql.functions import special


@special("hit", example="last_hit_count() = 0, 1, 2")
def last_hit_count() -> int:
    """Return how many rows there were before this one that got here.

    In WHERE, and in WHEN of a sliding window, only rows for which the condition is true count.
    """
    raise NotImplementedError("counted by the query")


@special("hit", example="last_hit_time() = 0, 1700000000000")
def last_hit_time() -> int:
    """Return the time of the last row that ``last_hit_count`` counts, 0 before there was one."""
    raise NotImplementedError("counted by the query")


@special("hit", example="last_agg_hit_count() = 0, 1, 2")
def last_agg_hit_count() -> int:
    """Return how many windows, or groups of such, there were before this one.

    In HAVING only windows count of which some group passed.
    """
    raise NotImplementedError("counted by the query")


@special("hit", example="last_agg_hit_time() = 0, 1700000000000")
def last_agg_hit_time() -> int:
    """Return when the last window that ``last_agg_hit_count`` counts was emitted, 0 at first."""
    raise NotImplementedError("counted by the query")


@special("columns", example='changed_cols("c_", true, a, b) = {"c_a": 1}, {} for a = 1, 1')
def changed_cols(prefix: str, ignore_null: bool, column: Any, *columns: Any) -> dict[str, Any]:
    """Return a column for each argument that differs from what it was in the last result.

    A column is named by the prefix and the argument; ``*`` stands for all columns. With AS they
    are one object, which is null if nothing has changed.
    """
    raise NotImplementedError("computed with the results of the query")
