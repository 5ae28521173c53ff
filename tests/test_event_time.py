"""Event time in queries: order, lateness, idle streams, fast clocks, timestamps of all kinds."""

from __future__ import annotations

from typing import Any

from engine.testing import START, Feed, Outcome, run_case

DEMO = 'CREATE STREAM demo () WITH (TIMESTAMP="ts")'


async def outcome(
    sql: str, *rows: tuple[int, dict[str, Any]], until: int | None = None, **options: Any
) -> Outcome:
    """Run a query over rows ``(arrival, row), …``; arrival and ``ts`` are ms after a full hour."""
    dated = [
        (at, {**row, "ts": START + row["ts"]} if isinstance(row.get("ts"), int) else row)
        for at, row in rows
    ]
    return await run_case(
        sql,
        [Feed.of(DEMO, *dated)],
        options={"isEventTime": True, "lateTolerance": 0, **options},
        advance_to=until,
    )


async def test_analytic_functions_and_windows_of_event_time_go_together() -> None:
    found = await outcome(
        "SELECT v, lag(v) AS last FROM demo GROUP BY TUMBLINGWINDOW(ss, 1)",
        (0, {"ts": 100, "v": 1}),
        (1, {"ts": 200, "v": 2}),
        (2, {"ts": 1_000, "v": 3}),
    )
    assert (found.refused, found.failure) == (None, "")
    assert found.rows == [{"v": 1}, {"v": 2, "last": 1}]


async def test_a_table_has_no_part_in_event_time() -> None:
    found = await run_case(
        "SELECT demo.v, t.name FROM demo LEFT JOIN t ON demo.k = t.k",
        [Feed.of(DEMO, (1, {"ts": START, "k": 1, "v": 5}), (3, {"ts": START, "k": 2, "v": 6}))],
        tables=[Feed.of('CREATE TABLE t () WITH (RETAIN_SIZE="5")', (0, {"k": 1, "name": "one"}))],
        options={"isEventTime": True, "lateTolerance": 0},
    )
    assert (found.failure, found.rows) == ("", [{"v": 5, "name": "one"}, {"v": 6}])
