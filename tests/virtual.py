"""Queries over a few rows in virtual time, for tests that work examples out."""

from __future__ import annotations

from typing import Any

from engine.batch import Row
from engine.testing import START, Feed, Outcome, run_case

DEMO = "CREATE STREAM demo () WITH ()"
Rows = list[tuple[int, Row]]
"""Rows with the time at which they arrive."""
Emissions = list[tuple[int, list[Row]]]


def values(*times: int) -> Rows:
    """Return rows that have the time of their arrival as ``v``."""
    return [(time, {"v": time}) for time in times]


async def outcome(
    sql: str,
    rows: Rows,
    *,
    until: int | None = None,
    start: int = 0,
    ddl: str = DEMO,
    **options: Any,
) -> Outcome:
    """Run a query over rows of ``demo``; all times are ms from midnight, ``start`` is the rule's.

    Whatever is refused or fails as a whole fails the test.
    """
    found = await run_case(
        sql,
        [Feed.of(ddl, *((at - start, row) for at, row in rows))],
        options=options,
        start=START + start,
        advance_to=None if until is None else until - start,
    )
    assert found.refused is None, found.refused
    assert not found.failure
    return found


async def emissions(sql: str, rows: Rows, *, start: int = 0, **how: Any) -> Emissions:
    """Return what a query emits as ``(ms from midnight, rows), …``; see `outcome`."""
    found = await outcome(sql, rows, start=start, **how)
    assert not found.errors
    return [(emission.at + start, emission.rows) for emission in found.emissions]
