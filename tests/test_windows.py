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


async def test_a_batch_whose_only_row_fails_an_analytic_function_ends_nothing() -> None:
    found = await outcome("SELECT *, acc_sum(v) AS sum FROM demo", (0, {"v": "x"}), (1, {"v": 2}))
    assert (found.failure, found.rows) == ("", [{"v": 2, "sum": 2}])
    assert found.errors == {"query: acc_sum": 1}


async def test_having_may_leave_nothing_to_sort() -> None:
    sql = "SELECT *, count(*) AS n FROM demo GROUP BY COUNTWINDOW(1) HAVING v > 1 ORDER BY v"
    found = await outcome(sql, (0, {"v": 1}), (1, {"v": 2}))
    assert (found.failure, found.rows) == ("", [{"v": 2, "n": 1}])
