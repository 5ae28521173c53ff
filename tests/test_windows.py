"""Windows, groups and what stands beside them in a query, by example and in virtual time."""

from __future__ import annotations

from typing import Any

from engine.testing import Feed, Outcome, run_case

DEMO = "CREATE STREAM demo () WITH ()"


async def outcome(
    sql: str, *rows: tuple[int, dict[str, Any]], until: int | None = None, **options: Any
) -> Outcome:
    """Run a query over rows of ``demo``: ``(at, row), …``, at in ms after a full hour."""
    return await run_case(sql, [Feed.of(DEMO, *rows)], options=options, advance_to=until)


async def test_the_literals_one_and_true_are_different_arguments() -> None:
    sql = "SELECT count(*) AS n, last_value(v, true) AS last FROM demo GROUP BY COUNTWINDOW(2)"
    found = await outcome(sql, (0, {"v": 7}), (1, {"v": None}))
    assert found.rows == [{"n": 2, "last": 7}]
