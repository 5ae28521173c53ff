"""Event time in queries: order, lateness, idle streams, fast clocks, timestamps of all kinds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from engine import Engine
from engine.batch import Row
from engine.run.rule import Rule
from engine.testing import START, Feed, Message, Outcome, run_case

STREAM = 'CREATE STREAM {} () WITH (TIMESTAMP="ts")'
DAY = 86_400_000
ROWS = "SELECT v FROM demo"
COUNTS = "SELECT count(*) AS n, window_start() AS s, window_end() AS e FROM demo GROUP BY "

Arrival = tuple[int, int, Any]
"""When a row comes and what time it says it is of, in ms after the start, and its ``v``."""


def feed(name: str, arrivals: Sequence[Arrival]) -> Feed:
    rows = [(at, {"ts": START + ts, "v": v}) for at, ts, v in arrivals]
    return Feed.of(STREAM.format(name), *rows)


async def run(
    sql: str, *feeds: Feed, until: int | None = None, tables: Sequence[Feed] = (), **options: Any
) -> tuple[Outcome, Rule]:
    """Run a query in event time, without tolerance unless ``options`` have one."""
    engines: list[Engine] = []
    found = await run_case(
        sql,
        feeds,
        tables=tables,
        options={"isEventTime": True, "lateTolerance": 0, **options},
        advance_to=until,
        prepare=engines.append,
    )
    assert (found.refused, found.failure) == (None, "")
    rule = engines[0].rules["case"]
    assert rule.metrics.balance().holds
    return found, rule


async def emissions(
    sql: str, *feeds: Feed, until: int | None = None, **options: Any
) -> list[tuple[int, list[Row]]]:
    """Return what a query emits, and when; nothing must be wrong with any row."""
    found, _ = await run(sql, *feeds, until=until, **options)
    assert not found.errors
    return [(emission.at, emission.rows) for emission in found.emissions]


def seen(found: Sequence[tuple[int, list[Row]]]) -> list[tuple[int, list[Any]]]:
    return [(at, [row["v"] for row in rows]) for at, rows in found]


# -- order and lateness


async def test_rows_are_released_in_the_order_of_their_times() -> None:
    rows = [(0, 100, "a"), (1, 50, "b"), (2, 1_100, "c"), (3, 1_050, "d"), (4, 2_100, "e")]
    found = await emissions(ROWS, feed("demo", rows), lateTolerance="1s")
    assert seen(found) == [(2, ["b"]), (2, ["a"]), (4, ["d"]), (4, ["c"])]


async def test_a_row_at_the_watermark_is_in_time_and_one_before_it_late() -> None:
    rows = [(0, 10_000, "a"), (1, 11_000, "b"), (2, 9_999, "late"), (3, 10_000, "c")]
    found, rule = await run(ROWS, feed("demo", rows), lateTolerance="1s")
    assert [row["v"] for row in found.rows] == ["a", "c"]
    assert rule.counts["late"] == 1
    assert dict(rule.metrics.dropped)["query", "late"] == 1


async def test_a_late_row_may_be_emitted_as_if_it_came_just_in_time() -> None:
    rows = [(0, 900, "a"), (1, 1_200, "b"), (2, 800, "late"), (3, 2_000, "c")]
    sql = "SELECT v FROM demo GROUP BY TUMBLINGWINDOW(ss, 1)"
    found, rule = await run(sql, feed("demo", rows), late="emit")
    assert [[row["v"] for row in e.rows] for e in found.emissions] == [["a"], ["b", "late"]]
    assert rule.counts["late"] == 1


async def test_the_default_tolerance_is_a_second() -> None:
    rows = [(0, 0, "a"), (1, 999, "b"), (2, 1_000, "c")]
    assert seen(await emissions(ROWS, feed("demo", rows), lateTolerance="1s")) == [(2, ["a"])]
    found = await run_case(ROWS, [feed("demo", rows)], options={"isEventTime": True})
    assert [(e.at, e.rows) for e in found.emissions] == [(2, [{"v": "a"}])]


# -- windows


async def test_a_window_fires_when_the_watermark_reaches_its_end() -> None:
    rows = [(0, 100, 1), (1, 999, 2), (2, 1_000, 3), (3, 2_500, 4)]
    found = await emissions(COUNTS + "TUMBLINGWINDOW(ss, 1)", feed("demo", rows))
    assert found == [
        (2, [{"n": 2, "s": START, "e": START + 1_000}]),
        (3, [{"n": 1, "s": START + 1_000, "e": START + 2_000}]),
    ]


@pytest.mark.parametrize(
    ("window", "rows", "expected"),
    [
        (
            "HOPPINGWINDOW(ss, 10, 5)",
            [1_000, 3_000, 31_000, 33_000, 60_000],
            [[1_000, 3_000], [1_000, 3_000], [], [31_000, 33_000], [31_000, 33_000], []],
        ),
        ("SLIDINGWINDOW(ss, 1)", [0, 1_000, 5_000], [[0], [0, 1_000], [5_000]]),
        ("SLIDINGWINDOW(ms, 100, 50)", [0, 49, 50, 150], [[0, 49], [0, 49, 50], [0, 49, 50]]),
        ("SESSIONWINDOW(ss, 60, 1)", [0, 1_000, 2_001, 4_000], [[0, 1_000], [2_001]]),
        ("COUNTWINDOW(2)", [5, 6, 7, 8], [[5, 6], [7, 8]]),
        ("STATEWINDOW(v = 6, v = 8)", [5, 6, 7, 8], [[6, 7, 8]]),
    ],
)
async def test_windows_hold_what_their_times_say(
    window: str, rows: list[int], expected: list[list[int]]
) -> None:
    arrivals = [(number, ts, ts) for number, ts in enumerate(rows)]
    found = await emissions(f"SELECT v FROM demo GROUP BY {window}", feed("demo", arrivals))
    assert [values for _, values in seen(found)] == expected


async def test_a_gap_of_years_shows_one_empty_window() -> None:
    rows = [(0, 0, 1), (1, 3650 * DAY, 2)]
    found = await emissions(COUNTS + "TUMBLINGWINDOW(ss, 1)", feed("demo", rows))
    assert [rows[0]["n"] for _, rows in found] == [1, 0]


async def test_a_day_of_readings_that_come_at_once() -> None:
    rows = [(0, ts, 1) for ts in range(0, DAY + 1, 60_000)]
    found = await emissions(COUNTS + "TUMBLINGWINDOW(hh, 1)", feed("demo", rows))
    assert [rows[0]["n"] for _, rows in found] == [60] * 24


async def test_the_time_of_a_row_is_its_timestamp() -> None:
    sql = "SELECT v, event_time() AS t FROM demo"
    assert await emissions(sql, feed("demo", [(50, 7, 1)])) == [(50, [{"v": 1, "t": START + 7}])]


async def test_analytic_functions_see_rows_in_order_and_go_with_windows() -> None:
    rows = [(0, 200, 2), (1, 100, 1), (2, 1_500, 3), (3, 3_000, 4)]
    sql = "SELECT v, lag(v) AS last FROM demo GROUP BY TUMBLINGWINDOW(ss, 1)"
    found = await emissions(sql, feed("demo", rows), lateTolerance="1s")
    assert [rows for _, rows in found] == [[{"v": 1}, {"v": 2, "last": 1}], [{"v": 3, "last": 2}]]


# -- streams that fall silent and clocks that are wrong


async def test_the_slowest_stream_holds_the_others_up_until_it_is_idle() -> None:
    sql = (
        "SELECT demo.v AS v, other.v AS o FROM demo LEFT JOIN other ON demo.v = other.v "
        "GROUP BY TUMBLINGWINDOW(ss, 1)"
    )
    feeds = (
        feed("demo", [(0, 100, "a"), (10, 1_500, "b"), (20, 2_500, "c")]),
        feed("other", [(5, 200, "a")]),
    )
    assert await emissions(sql, *feeds, until=60_000) == []
    found, rule = await run(sql, *feeds, until=60_000, idleTimeout="10s")
    assert [(e.at, e.rows) for e in found.emissions] == [
        (10_005, [{"v": "a", "o": "a"}]),
        (10_005, [{"v": "b"}]),
    ]
    assert rule.counts["idle"] == 2


async def test_a_silent_stream_emits_what_it_holds_back_for_the_tolerance() -> None:
    rows = [(0, 0, "a"), (1, 500, "b")]
    found = await emissions(
        ROWS, feed("demo", rows), until=9_000, lateTolerance="1s", idleTimeout="3s"
    )
    assert seen(found) == [(3_001, ["a"]), (3_001, ["b"])]


async def test_a_stream_is_waited_for_again_when_it_is_back() -> None:
    sql = "SELECT demo.v AS v FROM demo CROSS JOIN other GROUP BY COUNTWINDOW(1)"
    feeds = (
        feed("demo", [(0, 1_000, "a"), (5_000, 3_000, "b"), (5_002, 4_000, "c")]),
        feed("other", [(5_001, 2_000, "x")]),
    )
    found, rule = await run(sql, *feeds, until=5_500, idleTimeout="2s", sendError=True)
    assert rule.counts["late"] == 1  # demo had passed 2 s before other was back
    assert found.rows == []


async def test_a_row_from_a_fast_clock_waits_and_does_not_make_others_late() -> None:
    rows = [(0, 0, "a"), (1, 10 * 60_000, "fast"), (2, 1_000, "b"), (3, 2_000, "c")]
    found, rule = await run(ROWS, feed("demo", rows), maxAhead="1m")
    assert [row["v"] for row in found.rows] == ["a", "b", "c"]
    assert (rule.counts["ahead"], rule.counts["late"]) == (1, 0)


async def test_without_a_guard_a_fast_clock_makes_all_others_late() -> None:
    rows = [(0, 0, "a"), (1, 10 * 60_000, "fast"), (2, 1_000, "b"), (3, 2_000, "c")]
    found, rule = await run(ROWS, feed("demo", rows))
    assert [row["v"] for row in found.rows] == ["a", "fast"]
    assert rule.counts["late"] == 2


# -- timestamps


@pytest.mark.parametrize(
    ("ts", "ms"),
    [
        (1_500, 1_500),
        (1_500.9, 1_500),
        (-1, -1),
        ("1970-01-01T00:00:01.5Z", 1_500),
        ("1970-01-01 01:00:01+01:00", 1_000),
    ],
)
async def test_a_time_is_a_number_of_ms_or_a_text(ts: Any, ms: int) -> None:
    demo = Feed.of(STREAM.format("demo"), (0, {"ts": ts}))
    found = await emissions("SELECT event_time() AS t FROM demo", demo)
    assert found == [(0, [{"t": ms}])]


async def test_a_pattern_says_how_times_are_written() -> None:
    ddl = 'CREATE STREAM demo () WITH (TIMESTAMP="ts", TIMESTAMP_FORMAT="dd/MM/YYYY HH:mm")'
    demo = Feed.of(ddl, (0, {"ts": "02/01/1970 00:01"}))
    found = await emissions("SELECT event_time() AS t FROM demo", demo)
    assert found == [(0, [{"t": DAY + 60_000}])]


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({}, "timestamp: ts: it is missing"),
        ({"ts": None}, "timestamp: ts: it is missing"),
        ({"ts": "yesterday"}, "timestamp: ts: "),
        ({"ts": True}, "timestamp: ts: "),
        ({"ts": [1]}, "timestamp: ts: "),
        ({"ts": ""}, "timestamp: ts: "),
    ],
)
async def test_a_row_without_a_time_is_an_error_of_its_own(row: Row, error: str) -> None:
    good = (1, {"ts": START, "v": 1})
    demo = Feed.of(STREAM.format("demo"), (0, row), good)
    found, _ = await run(ROWS, demo, sendError=True)
    assert found.rows[0]["error"].startswith(error)
    assert found.rows[1:] == [{"v": 1}]
    assert found.errors == {"query: timestamp": 1}


async def test_rows_around_one_without_a_time_in_a_batch_are_kept() -> None:
    batch = b'[{"ts": 5, "v": 1}, {"ts": "x", "v": 2}, {"ts": 4, "v": 3}, {"ts": 6.5, "v": 4}]'
    demo = Feed(STREAM.format("demo"), [Message(0, batch)])
    found, rule = await run(ROWS, demo)
    assert [row["v"] for row in found.rows] == [1, 4]
    assert (rule.counts["late"], sum(found.errors.values())) == (1, 1)


# -- what a rule needs for it


async def test_a_rule_in_event_time_needs_a_timestamp() -> None:
    bare = Feed.of("CREATE STREAM demo () WITH ()")
    found = await run_case(ROWS, [bare], options={"isEventTime": True})
    assert found.refused is not None
    assert "isEventTime needs a stream with a timestamp" in found.refused.message
    assert "TIMESTAMP" in found.refused.hint
    sql = "SELECT demo.v FROM demo CROSS JOIN other GROUP BY COUNTWINDOW(2)"
    other = Feed.of(STREAM.format("other"))
    found = await run_case(sql, [bare, other], options={"isEventTime": True})
    assert found.refused is not None
    assert "demo has no timestamp" in found.refused.message


async def test_a_timestamp_alone_does_not_make_event_time() -> None:
    rows = [(0, 500, "a"), (1, 100, "b")]
    found = await run_case(ROWS, [feed("demo", rows)])
    assert [(e.at, e.rows) for e in found.emissions] == [(0, [{"v": "a"}]), (1, [{"v": "b"}])]


async def test_a_table_has_no_part_in_event_time() -> None:
    names = Feed.of('CREATE TABLE t () WITH (RETAIN_SIZE="5")', (0, {"v": 1, "name": "one"}))
    found, _ = await run(
        "SELECT demo.v, t.name FROM demo LEFT JOIN t ON demo.v = t.v",
        feed("demo", [(1, 0, 1), (3, 0, 2)]),
        tables=[names],
    )
    assert found.rows == [{"v": 1, "name": "one"}, {"v": 2}]
