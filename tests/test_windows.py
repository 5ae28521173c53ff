"""Windows in queries, by example and in virtual time: bounds, alignment, firing, empty ones."""

from __future__ import annotations

from typing import Any

import pytest

from engine.batch import Row
from engine.testing import START
from tests.virtual import emissions, outcome, values

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000

# Each case: the window, when rows come, until when time goes on, and for each window that fires
# when it does and the rows in it, which are their own times.
WINDOWS: dict[str, tuple[str, list[int], int, list[tuple[int, list[int]]]]] = {
    "tumbling: a row at the end is in the next window": (
        "TUMBLINGWINDOW(ss, 1)",
        [0, 999, 1_000, 1_999],
        2_000,
        [(1_000, [0, 999]), (2_000, [1_000, 1_999])],
    ),
    "tumbling: nothing fires before the end": ("TUMBLINGWINDOW(ss, 1)", [0], 999, []),
    "tumbling: empty windows are emitted": (
        "TUMBLINGWINDOW(ms, 500)",
        [700],
        1_500,
        [(500, []), (1_000, [700]), (1_500, [])],
    ),
    "hopping: overlapping": (
        "HOPPINGWINDOW(ss, 2, 1)",
        [500, 1_000, 1_999],
        4_000,
        [
            (1_000, [500]),
            (2_000, [500, 1_000, 1_999]),
            (3_000, [1_000, 1_999]),
            (4_000, []),
        ],
    ),
    "hopping: a hop that is longer leaves gaps": (
        "HOPPINGWINDOW(ms, 300, 1000)",
        [100, 699, 700, 999, 1_000],
        2_000,
        [(1_000, [700, 999]), (2_000, [])],
    ),
    "sliding: both bounds are in it": (
        "SLIDINGWINDOW(ss, 1)",
        [0, 1_000, 2_001],
        5_000,
        [(0, [0]), (1_000, [0, 1_000]), (2_001, [2_001])],
    ),
    "sliding: of rows at the same time each sees those before it": (
        "SLIDINGWINDOW(ss, 1)",
        [5, 5],
        5_000,
        [(5, [5]), (5, [5, 5])],
    ),
    "sliding with a delay: the end is not in it": (
        "SLIDINGWINDOW(ms, 100, 50)",
        [0, 49, 50, 150],
        1_000,
        [
            (50, [0, 49]),
            (99, [0, 49, 50]),
            (100, [0, 49, 50]),
            (200, [50, 150]),
        ],
    ),
    "sliding: only rows for which WHEN is true trigger": (
        "SLIDINGWINDOW(ss, 1) OVER (WHEN v > 300)",
        [100, 300, 400, 1_350],
        5_000,
        [(400, [100, 300, 400]), (1_350, [400, 1_350])],
    ),
    "session: a gap of the timeout ends it": (
        "SESSIONWINDOW(ss, 60, 1)",
        [100, 1_099, 2_099],
        9_000,
        [(2_099, [100, 1_099]), (3_099, [2_099])],
    ),
    "session: too long ones are cut at an aligned time": (
        "SESSIONWINDOW(ss, 2, 1)",
        [500, 1_300, 2_100, 2_900, 3_700, 4_500],
        9_000,
        [(4_000, [500, 1_300, 2_100, 2_900, 3_700]), (5_500, [4_500])],
    ),
    "count": ("COUNTWINDOW(2)", [1, 2, 3, 4, 5], 9_000, [(2, [1, 2]), (4, [3, 4])]),
    "count: with a step": (
        "COUNTWINDOW(3, 2)",
        [1, 2, 3, 4, 5, 6],
        9_000,
        [(4, [2, 3, 4]), (6, [4, 5, 6])],
    ),
    "state: the row that ends it is in it": (
        "STATEWINDOW(v = 2, v >= 4)",
        [1, 2, 3, 4, 5],
        9_000,
        [(4, [2, 3, 4])],
    ),
    "state: the row that begins it isn't asked whether it ends it": (
        "STATEWINDOW(v > 1, v > 1)",
        [1, 2, 3, 4, 5, 6],
        9_000,
        [(3, [2, 3]), (5, [4, 5])],
    ),
    "state: with one condition the row that ends it begins the next": (
        "STATEWINDOW(v % 3 = 0)",
        [1, 3, 4, 6, 7],
        9_000,
        [(6, [3, 4])],
    ),
    "filter: other rows don't come near the window": (
        "COUNTWINDOW(2) FILTER (WHERE v % 2 = 0)",
        [1, 2, 3, 4, 5],
        9_000,
        [(4, [2, 4])],
    ),
    "filter: other rows don't keep a session alive": (
        "SESSIONWINDOW(ss, 60, 1) FILTER (WHERE v != 600)",
        [0, 600, 1_200],
        9_000,
        [(1_000, [0]), (2_200, [1_200])],
    ),
}


@pytest.mark.parametrize(("window", "rows", "until", "expected"), WINDOWS.values(), ids=WINDOWS)
async def test_what_is_in_a_window_and_when_it_fires(
    window: str, rows: list[int], until: int, expected: list[tuple[int, list[int]]]
) -> None:
    found = await emissions(f"SELECT v FROM demo GROUP BY {window}", values(*rows), until=until)
    assert [(at, [row["v"] for row in emitted]) for at, emitted in found] == expected


# -- alignment: the first end, and those that follow it

ALIGNED: dict[str, tuple[str, int, list[int]]] = {
    "seconds by the minute": ("TUMBLINGWINDOW(ss, 10)", 5_200, [10_000, 20_000]),
    "a rule that begins at an end waits for the next": ("TUMBLINGWINDOW(ss, 10)", 10_000, [20_000]),
    "ends aren't aligned again": (
        "TUMBLINGWINDOW(ss, 25)",
        26_000,
        [50_000, 75_000, 100_000],
    ),
    "120 seconds by the minute": ("TUMBLINGWINDOW(ss, 120)", MINUTE, [3 * MINUTE, 5 * MINUTE]),
    "2 minutes by the hour": ("TUMBLINGWINDOW(mi, 2)", MINUTE, [2 * MINUTE, 4 * MINUTE]),
    "milliseconds by the second": ("TUMBLINGWINDOW(ms, 300)", 700, [900, 1_200]),
    "hours by the day": ("TUMBLINGWINDOW(hh, 5)", 13 * HOUR, [15 * HOUR, 20 * HOUR, 25 * HOUR]),
    "days": ("TUMBLINGWINDOW(dd, 1)", 13 * HOUR, [DAY, 2 * DAY]),
    "hopping by the hop": ("HOPPINGWINDOW(ss, 60, 10)", 5_200, [10_000, 20_000]),
}


@pytest.mark.parametrize(("window", "start", "ends"), ALIGNED.values(), ids=ALIGNED)
async def test_ends_are_aligned_to_the_natural_unit(
    window: str, start: int, ends: list[int]
) -> None:
    sql = f"SELECT window_end() AS e, count(*) AS n FROM demo GROUP BY {window}"
    found = await emissions(sql, [], start=start, until=ends[-1])
    assert found == [(end, [{"e": START + end, "n": 0}]) for end in ends]


@pytest.mark.parametrize(
    ("window", "zone", "ends"),
    [
        ("TUMBLINGWINDOW(dd, 1)", "", [DAY]),
        ("TUMBLINGWINDOW(dd, 1)", "Asia/Kolkata", [18 * HOUR + 30 * MINUTE]),
        ("TUMBLINGWINDOW(hh, 6)", "America/New_York", [17 * HOUR, 23 * HOUR]),
        ("TUMBLINGWINDOW(mi, 30)", "Asia/Kathmandu", [12 * HOUR + 15 * MINUTE]),
    ],
)
async def test_ends_are_aligned_in_the_time_zone_of_the_rule(
    window: str, zone: str, ends: list[int]
) -> None:
    sql = f"SELECT window_end() AS e, count(*) AS n FROM demo GROUP BY {window}"
    found = await emissions(sql, [], start=12 * HOUR, until=ends[-1], timezone=zone)
    assert found == [(end, [{"e": START + end, "n": 0}]) for end in ends]


# -- what functions tell of a window

BOUNDS: dict[str, tuple[str, list[int], tuple[int, int, int]]] = {
    "tumbling": ("TUMBLINGWINDOW(ss, 1)", [300], (0, 1_000, 1_000)),
    "hopping": ("HOPPINGWINDOW(ss, 10, 1)", [300], (-9_000, 1_000, 1_000)),
    "sliding": ("SLIDINGWINDOW(ss, 1)", [300], (-700, 300, 300)),
    "sliding with delay": ("SLIDINGWINDOW(ms, 200, 50)", [300], (100, 350, 350)),
    "session": ("SESSIONWINDOW(ss, 10, 1)", [300, 500], (300, 1_500, 1_500)),
    "count": ("COUNTWINDOW(2)", [300, 500], (300, 500, 500)),
    "state": ("STATEWINDOW(v = 300, v = 500)", [300, 500], (300, 500, 500)),
}


@pytest.mark.parametrize(("window", "rows", "bounds"), BOUNDS.values(), ids=BOUNDS)
async def test_a_window_tells_its_bounds(
    window: str, rows: list[int], bounds: tuple[int, int, int]
) -> None:
    items = "window_start() AS s, window_end() AS e, window_trigger() AS t"
    sql = f"SELECT {items}, event_time() AS own FROM demo GROUP BY {window}"
    found = await outcome(sql, values(*rows), until=2_000)
    start, end, trigger = (START + bound for bound in bounds)
    first = next(emission.rows for emission in found.emissions if emission.rows)
    assert first[0] == {"s": start, "e": end, "t": trigger, "own": START + rows[0]}
    sql = f"SELECT {items}, event_time() AS own, count(*) AS n FROM demo GROUP BY {window}"
    found = await outcome(sql, values(*rows), until=2_000)
    assert found.rows[0] == {"s": start, "e": end, "t": trigger, "own": trigger, "n": len(rows)}


async def test_without_a_window_its_bounds_are_null() -> None:
    sql = "SELECT window_start() AS s, v FROM demo WHERE window_end() IS NULL"
    assert await emissions(sql, values(5)) == [(5, [{"v": 5}])]


# -- windows without rows


@pytest.mark.parametrize(
    ("select", "by", "expected"),
    [
        ("v", "", []),
        ("count(*) AS n, sum(v) AS s, collect(v) AS c", "", [{"n": 0}]),
        ("v, count(*) AS n", "", [{"n": 0}]),
        ("count(*) AS n", "v, ", None),
    ],
)
async def test_an_empty_window_is_an_empty_list_or_the_aggregates_of_nothing(
    select: str, by: str, expected: list[Row] | None
) -> None:
    sql = f"SELECT {select} FROM demo GROUP BY {by}TUMBLINGWINDOW(ss, 1)"
    found = await emissions(sql, [], until=1_000)
    assert found == ([] if expected is None else [(1_000, expected)])


async def test_rows_that_fail_where_leave_an_empty_window_in_processing_time() -> None:
    sql = "SELECT v FROM demo WHERE v > 500 GROUP BY TUMBLINGWINDOW(ss, 1)"
    assert await emissions(sql, values(100), until=1_000) == [(1_000, [])]


@pytest.mark.parametrize("window", ["COUNTWINDOW(2)", "SLIDINGWINDOW(ms, 10)"])
async def test_other_windows_are_not_emitted_when_where_leaves_nothing(window: str) -> None:
    sql = f"SELECT count(*) AS n FROM demo WHERE v > 500 GROUP BY {window}"
    assert await emissions(sql, values(100, 101), until=1_000) == []


# -- WHERE


async def test_rows_that_fail_where_have_their_place_in_a_count_window() -> None:
    sql = "SELECT v FROM demo WHERE v != 2 GROUP BY COUNTWINDOW(3)"
    assert await emissions(sql, values(1, 2, 3)) == [(3, [{"v": 1}, {"v": 3}])]


async def test_rows_that_fail_where_trigger_a_sliding_window() -> None:
    sql = "SELECT v FROM demo WHERE v != 2 GROUP BY SLIDINGWINDOW(ss, 1)"
    assert await emissions(sql, values(1, 2)) == [(1, [{"v": 1}]), (2, [{"v": 1}])]


async def test_rows_that_fail_where_keep_a_session_alive() -> None:
    sql = "SELECT v FROM demo WHERE v != 600 GROUP BY SESSIONWINDOW(ss, 60, 1)"
    found = await emissions(sql, values(0, 600, 1_200), until=9_000)
    assert found == [(2_200, [{"v": 0}, {"v": 1_200}])]


# -- partitions of state windows


async def test_a_state_window_is_kept_for_each_partition() -> None:
    rows: list[tuple[int, Row]] = [
        (1, {"k": "a", "busy": True}),
        (2, {"k": "b", "busy": True}),
        (3, {"k": "a", "busy": False}),
        (4, {"busy": True}),
        (5, {"k": None, "busy": False}),
    ]
    sql = (
        "SELECT k, count(*) AS n, window_start() AS s FROM demo "
        "GROUP BY STATEWINDOW(busy, busy = false) OVER (PARTITION BY k)"
    )
    assert await emissions(sql, rows) == [
        (3, [{"k": "a", "n": 2, "s": START + 1}]),
        (5, [{"n": 2, "s": START + 4}]),  # null and missing are one partition
    ]


async def test_the_state_window_that_is_open_for_longest_gives_way() -> None:
    sql = "SELECT v FROM demo GROUP BY STATEWINDOW(v < 4, v > 3) OVER (PARTITION BY v % 4)"
    found = await outcome(sql, values(1, 2, 3, 5, 6), maxPartitions=2)
    assert found.rows == [{"v": 2}, {"v": 6}]


# -- rows with errors


async def test_a_bad_row_fails_alone_and_the_window_is_emitted_without_it() -> None:
    rows: list[tuple[int, Any]] = [(0, {"v": 1}), (1, {"v": "x"}), (2, {"v": 2})]
    sql = "SELECT sum(v) AS s, count(*) AS n FROM demo GROUP BY TUMBLINGWINDOW(ss, 1)"
    found = await outcome(sql, rows, until=1_000, sendError=True)
    assert found.rows == [
        {"error": "sum: x must be number, not string"},
        {"s": 3, "n": 2},
    ]
    assert found.errors == {"query: sum": 1}


async def test_a_group_that_has_no_value_fails_alone() -> None:
    rows: list[tuple[int, Any]] = [
        (0, {"k": 1, "v": 1}),
        (1, {"k": 1, "v": "x"}),
        (2, {"k": 2, "v": 2}),
    ]
    sql = "SELECT k, max(v) AS m FROM demo GROUP BY k, TUMBLINGWINDOW(ss, 1)"
    found = await outcome(sql, rows, until=1_000)
    assert found.rows == [{"k": 2, "m": 2}]
    assert found.errors == {"query: max": 1}


# -- a long time


async def test_a_day_of_readings_takes_no_time() -> None:
    rows = [(at, {"v": at // HOUR}) for at in range(0, DAY, 20 * MINUTE)]
    sql = "SELECT avg(v) AS a, count(*) AS n FROM demo GROUP BY HOPPINGWINDOW(hh, 6, 3)"
    found = await emissions(sql, rows, until=DAY)
    assert [at // HOUR for at, _ in found] == [3, 6, 9, 12, 15, 18, 21, 24]
    assert [emitted for _, emitted in found[:3]] == [
        [{"a": 1.0, "n": 9}],
        [{"a": 2.5, "n": 18}],
        [{"a": 5.5, "n": 18}],
    ]
