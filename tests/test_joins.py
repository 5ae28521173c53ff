"""Joins of streams in windows, with tables, and of a stream with itself, by example."""

from __future__ import annotations

from typing import Any

import pytest

from engine.batch import Row
from engine.testing import START, Feed, Outcome, run_case

WINDOW = "GROUP BY TUMBLINGWINDOW(ss, 1)"
Rows = list[tuple[int, Row]]

LEFT: Rows = [(100, {"id": 1, "x": "a"}), (300, {"id": 2, "x": "b"}), (500, {"id": 2, "x": "c"})]
RIGHT: Rows = [(200, {"id": 2, "y": 10}), (400, {"id": 3, "y": 20}), (600, {"id": None, "y": 30})]


async def joined(
    sql: str,
    *,
    tables: dict[str, Rows] | None = None,
    retain: int = 100,
    until: int = 1_000,
    options: dict[str, Any] | None = None,
    **streams: Rows,
) -> Outcome:
    """Run a query over streams and scan tables, each with its rows by time."""
    found = await run_case(
        sql,
        [Feed.of(f"CREATE STREAM {name} () WITH ()", *rows) for name, rows in streams.items()],
        tables=[
            Feed.of(f'CREATE TABLE {name} () WITH (RETAIN_SIZE="{retain}")', *rows)
            for name, rows in (tables or {}).items()
        ],
        options=options,
        advance_to=until,
    )
    assert (found.refused, found.failure) == (None, "")
    return found


async def pairs(sql: str, **how: Any) -> list[tuple[Any, Any]]:
    found = await joined(sql, l=LEFT, r=RIGHT, **how)
    return [(row.get("x"), row.get("y")) for row in found.rows]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("INNER", [("b", 10), ("c", 10)]),
        ("LEFT", [("a", None), ("b", 10), ("c", 10)]),
        ("RIGHT", [("b", 10), ("c", 10), (None, 20), (None, 30)]),
        ("FULL", [("a", None), ("b", 10), ("c", 10), (None, 20), (None, 30)]),
        ("", [("b", 10), ("c", 10)]),
    ],
)
@pytest.mark.parametrize("on", ["l.id = r.id", "r.id = l.id", "l.id = r.id AND l.id > 0"])
async def test_the_kinds_of_joins_whatever_the_order_in_on(
    kind: str, on: str, expected: list[tuple[Any, Any]]
) -> None:
    assert await pairs(f"SELECT x, y FROM l {kind} JOIN r ON {on} {WINDOW}") == expected


async def test_every_pair_of_a_cross_join() -> None:
    expected = [(x, y) for x in "abc" for y in (10, 20, 30)]
    assert await pairs(f"SELECT x, y FROM l CROSS JOIN r {WINDOW}") == expected
    assert await pairs(f"SELECT x, y FROM l INNER JOIN r {WINDOW}") == expected


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        ("l.id = r.id AND r.y > 15", [("a", None), ("b", None), ("c", None)]),
        ("l.id = r.id AND l.x = 'c'", [("a", None), ("b", None), ("c", 10)]),
        ("l.id < r.id", [("a", 10), ("a", 20), ("b", 20), ("c", 20)]),
        ("l.id = r.id OR r.y = 30", [("a", 30), ("b", 10), ("b", 30), ("c", 10), ("c", 30)]),
        ("l.id * 10 = r.y", [("a", 10), ("b", 20), ("c", 20)]),
        ("l.x = r.id", [("a", None), ("b", None), ("c", None)]),
    ],
)
async def test_conditions_beside_and_instead_of_keys(
    on: str, expected: list[tuple[Any, Any]]
) -> None:
    assert await pairs(f"SELECT x, y FROM l LEFT JOIN r ON {on} {WINDOW}") == expected


async def test_where_is_asked_after_the_join() -> None:
    sql = f"SELECT x, y FROM l LEFT JOIN r ON l.id = r.id WHERE {{}} {WINDOW}"
    assert await pairs(sql.format("y IS NULL")) == [("a", None)]
    assert await pairs(sql.format("y > 5")) == [("b", 10), ("c", 10)]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ("SLIDINGWINDOW(ms, 150)", [(300, ["b"])]),
        ("COUNTWINDOW(3)", [(300, ["b"])]),
        ("HOPPINGWINDOW(ms, 400, 300)", [(600, ["b", "c"])]),
        ("SESSIONWINDOW(ss, 60, 1)", [(1_600, ["b", "c"])]),
        ("STATEWINDOW(l.x = 'b', r.y = 30)", []),
    ],
)
async def test_any_window_may_hold_the_rows(
    window: str, expected: list[tuple[int, list[str]]]
) -> None:
    sql = f"SELECT x FROM l INNER JOIN r ON l.id = r.id GROUP BY {window}"
    found = await joined(sql, l=LEFT, r=RIGHT, until=5_000)
    assert [(e.at, [row["x"] for row in e.rows]) for e in found.emissions] == expected


async def test_three_streams() -> None:
    sql = (
        "SELECT l.x, r.y, m.z FROM l LEFT JOIN r ON l.id = r.id LEFT JOIN m ON r.y = m.y "
        f"AND m.z != 'no' {WINDOW}"
    )
    middle: Rows = [(700, {"y": 10, "z": "no"}), (701, {"y": 10, "z": "yes"})]
    found = await joined(sql, l=LEFT, r=RIGHT, m=middle)
    assert found.rows == [
        {"x": "a"},
        {"x": "b", "y": 10, "z": "yes"},
        {"x": "c", "y": 10, "z": "yes"},
    ]


async def test_a_stream_is_joined_with_itself_by_aliases() -> None:
    on = "p.id = q.id AND p.x < q.x"
    sql = f"SELECT p.x AS x, q.x AS y FROM l AS p INNER JOIN l AS q ON {on} {WINDOW}"
    found = await joined(sql, l=LEFT)
    assert found.rows == [{"x": "b", "y": "c"}]


# -- what a joined row has


async def test_a_name_without_its_stream_is_that_of_the_first_stream_that_has_it() -> None:
    found = await joined(
        f"SELECT id, y FROM l FULL JOIN r ON l.id = r.id {WINDOW}", l=LEFT, r=RIGHT
    )
    assert [row.get("id", "none") for row in found.rows] == [1, 2, 2, 3, None]


async def test_a_star_is_all_columns_the_first_stream_winning() -> None:
    sql = f"SELECT {{}} FROM l INNER JOIN r ON l.id = r.id {WINDOW} LIMIT 1"
    right: Rows = [(5, {"id": 2.0, "x": "mine", "y": 1})]
    found = await joined(sql.format("*"), l=LEFT, r=right)
    assert found.rows == [{"id": 2, "x": "b", "y": 1}]
    found = await joined(sql.format("r.*"), l=LEFT, r=right)
    assert found.rows == [{"id": 2.0, "x": "mine", "y": 1}]


async def test_groups_and_aggregates_of_joined_rows() -> None:
    sql = (
        "SELECT l.id, count(*) AS n, count(r.y) AS matched, window_end() AS e "
        "FROM l LEFT JOIN r ON l.id = r.id GROUP BY l.id, TUMBLINGWINDOW(ss, 1) "
        "HAVING count(*) > 0 ORDER BY n DESC"
    )
    found = await joined(sql, l=LEFT, r=RIGHT)
    assert found.rows == [
        {"id": 2, "n": 2, "matched": 2, "e": START + 1_000},
        {"id": 1, "n": 1, "matched": 0, "e": START + 1_000},
    ]


async def test_analytic_functions_see_one_stream_before_it_is_joined() -> None:
    sql = f"SELECT x, y, lag(r.y) AS before FROM l FULL JOIN r ON l.id = r.id {WINDOW}"
    found = await joined(sql, l=LEFT, r=RIGHT)
    assert [row.get("before") for row in found.rows] == [None, None, None, 10, 20]


async def test_a_condition_that_fails_for_a_pair_is_an_error_and_no_match() -> None:
    sql = f"SELECT x, y FROM l LEFT JOIN r ON l.id = r.id AND r.y > l.x {WINDOW}"
    found = await joined(sql, l=LEFT, r=RIGHT)
    assert [(row["x"], row.get("y")) for row in found.rows] == [
        ("a", None),
        ("b", None),
        ("c", None),
    ]
    assert sum(found.errors.values()) == 2


# -- scan tables

NAMES: Rows = [(0, {"id": 1, "name": "one"}), (150, {"id": 2, "name": "two"})]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("INNER", [(100, ["one"]), (300, ["two"]), (500, ["two"])]),
        ("LEFT", [(100, ["one"]), (300, ["two"]), (500, ["two"])]),
        ("RIGHT", [(100, ["one"]), (300, ["one", "two"]), (500, ["one", "two"])]),
        ("FULL", [(100, ["one"]), (300, ["two", "one"]), (500, ["two", "one"])]),
    ],
)
async def test_each_row_is_joined_with_what_the_table_holds(
    kind: str, expected: list[tuple[int, list[str]]]
) -> None:
    sql = f"SELECT x, name FROM l {kind} JOIN t ON l.id = t.id"
    found = await joined(sql, l=LEFT, tables={"t": NAMES})
    assert [(e.at, [row["name"] for row in e.rows]) for e in found.emissions] == expected


async def test_a_table_keeps_its_newest_rows() -> None:
    sql = "SELECT x, name FROM l LEFT JOIN t ON l.id = t.id"
    names: Rows = [
        (0, {"id": 2, "name": "old"}),
        (10, {"id": 2, "name": "new"}),
        (20, {"id": 1, "name": "one"}),
    ]
    found = await joined(sql, l=LEFT, tables={"t": names}, retain=2)
    assert found.rows == [
        {"x": "a", "name": "one"},
        {"x": "b", "name": "new"},
        {"x": "c", "name": "new"},
    ]
    found = await run_case(
        sql,
        [Feed.of("CREATE STREAM l () WITH ()", *LEFT)],
        tables=[Feed.of('CREATE TABLE t () WITH (TYPE="memory", DATASOURCE="t")', *names)],
    )
    assert found.rows == [{"x": "a", "name": "one"}, {"x": "b"}, {"x": "c"}]


async def test_rows_of_a_table_emit_nothing() -> None:
    sql = "SELECT name FROM l RIGHT JOIN t ON l.id = t.id"
    assert (await joined(sql, l=[], tables={"t": NAMES})).emissions == []


async def test_a_window_is_joined_with_the_table_as_it_is_when_it_fires() -> None:
    names: Rows = [(0, {"id": 2, "name": "early"}), (900, {"id": 2, "name": "late"})]
    sql = f"SELECT x, name FROM l INNER JOIN t ON l.id = t.id {WINDOW}"
    found = await joined(sql, l=LEFT, tables={"t": names}, retain=1)
    assert [(e.at, e.rows) for e in found.emissions] == [
        (1_000, [{"x": "b", "name": "late"}, {"x": "c", "name": "late"}])
    ]


async def test_streams_and_a_table_in_one_query() -> None:
    sql = (
        f"SELECT x, y, name FROM l INNER JOIN t ON l.id = t.id INNER JOIN r ON r.id = l.id {WINDOW}"
    )
    found = await joined(sql, l=LEFT, r=RIGHT, tables={"t": NAMES})
    assert found.rows == [{"x": "b", "y": 10, "name": "two"}, {"x": "c", "y": 10, "name": "two"}]


async def test_aggregates_of_a_row_and_its_table() -> None:
    names: Rows = [(0, {"id": 1, "n": 3}), (0, {"id": 1, "n": 4}), (0, {"id": 2, "n": 5})]
    sql = "SELECT x, count(*) AS c, sum(t.n) AS s FROM l INNER JOIN t ON l.id = t.id"
    found = await joined(sql, l=LEFT, tables={"t": names})
    assert [e.rows for e in found.emissions] == [
        [{"x": "a", "c": 2, "s": 7}],
        [{"x": "b", "c": 1, "s": 5}],
        [{"x": "c", "c": 1, "s": 5}],
    ]
