"""Analytic functions in queries: where they stand, whose rows they see, what they remember."""

from __future__ import annotations

from typing import Any

import pytest

from engine.batch import Row
from engine.testing import START
from tests.virtual import Rows, emissions, outcome


def rows(*found: Row) -> Rows:
    return list(enumerate(found))


async def results(sql: str, *found: Row, **options: Any) -> list[Row]:
    return (await outcome(sql, rows(*found), **options)).rows


READINGS: list[Row] = [{"k": k, "v": v} for k, v in [("a", 1), ("b", 5), ("a", 2), ("b", 5)]]


async def test_they_see_the_rows_that_where_leaves_out() -> None:
    sql = "SELECT v, lag(v) AS last FROM demo WHERE v > 2"
    sizes: list[Row] = [{"v": v} for v in (3, 6, 2, 4, 1)]
    assert await results(sql, *sizes) == [{"v": 3}, {"v": 6, "last": 3}, {"v": 4, "last": 2}]


async def test_in_where_they_find_changes() -> None:
    sql = "SELECT v FROM demo WHERE had_changed(true, v)"
    assert await results(sql, *({"v": v} for v in (1, 1, None, 1, 2, 2))) == [{"v": 1}, {"v": 2}]


async def test_in_case_every_call_is_computed_for_every_row() -> None:
    sql = "SELECT CASE WHEN had_changed(true, k) THEN lag(v, 1, 0) ELSE -1 END AS c FROM demo"
    found = [{"k": k, "v": v} for v, k in enumerate("aabba")]
    assert [row["c"] for row in await results(sql, *found)] == [0, -1, 1, -1, 3]


async def test_one_may_read_another_and_an_alias() -> None:
    sql = "SELECT v * 2 AS w, lag(w) AS last, lag(had_changed(true, v)) AS changed FROM demo"
    assert await results(sql, {"v": 1}, {"v": 1}, {"v": 2}) == [
        {"w": 2},
        {"w": 2, "last": 2, "changed": True},
        {"w": 4, "last": 2, "changed": False},
    ]


async def test_each_call_remembers_for_itself() -> None:
    sql = "SELECT lag(v) AS a, lag(v) OVER (WHEN v != 2) AS b FROM demo"
    assert await results(sql, {"v": 1}, {"v": 2}, {"v": 3}) == [
        {},
        {"a": 1, "b": 1},
        {"a": 2, "b": 1},
    ]


async def test_each_partition_is_remembered_by_itself() -> None:
    sql = "SELECT k, v - lag(v) OVER (PARTITION BY k) AS step FROM demo"
    assert await results(sql, *READINGS) == [
        {"k": "a"},
        {"k": "b"},
        {"k": "a", "step": 1},
        {"k": "b", "step": 0},
    ]


async def test_partitions_are_values_of_a_kind() -> None:
    sql = "SELECT acc_count(i) OVER (PARTITION BY k, j) AS n FROM demo"
    keys: list[tuple[Any, Any]] = [
        ("a", "bc"),
        ("ab", "c"),
        (1, 1),
        (1.0, 1),
        ("1", 1),
        (None, 1),
        (True, 1),
    ]
    found = await results(sql, *({"i": 0, "k": k, "j": j} for k, j in keys), {"i": 0, "j": 1})
    assert [row["n"] for row in found] == [1, 1, 1, 2, 1, 1, 1, 2]


async def test_when_leaves_rows_out_of_what_is_remembered() -> None:
    sql = "SELECT acc_sum(v) OVER (PARTITION BY k WHEN v > 1) AS s FROM demo"
    assert await results(sql, *READINGS) == [{"s": 0}, {"s": 5}, {"s": 2}, {"s": 10}]


async def test_the_partition_that_was_used_least_recently_gives_way() -> None:
    sql = "SELECT k, acc_count(k) OVER (PARTITION BY k) AS n FROM demo"
    found = await results(sql, *({"k": k} for k in "abacab"), maxPartitions=2)
    assert [(row["k"], row["n"]) for row in found] == [
        ("a", 1),
        ("b", 1),
        ("a", 2),
        ("c", 1),
        ("a", 3),
        ("b", 1),
    ]


async def test_a_row_with_an_error_is_left_out_and_counted() -> None:
    found = await outcome(
        "SELECT acc_sum(v) AS s FROM demo", rows({"v": 1}, {"v": "x"}, {"v": 2}), sendError=True
    )
    assert found.rows == [{"s": 1}, {"error": "acc_sum: x must be a number, not string"}, {"s": 3}]
    assert found.errors == {"query: acc_sum": 1}


async def test_before_a_window_they_see_each_row_once() -> None:
    sql = "SELECT sum(lag(v)) AS s, count(*) AS n FROM demo GROUP BY COUNTWINDOW(3, 1)"
    found = await results(sql, *({"v": v} for v in (1, 2, 3, 4)))
    assert found == [{"s": 3, "n": 3}, {"s": 6, "n": 3}]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (
            "SLIDINGWINDOW(ss, 1) OVER (WHEN had_changed(true, k))",
            [(0, [1]), (1, [1, 5]), (2, [1, 5, 2]), (3, [1, 5, 2, 5])],
        ),
        ("STATEWINDOW(lag(v) > 1)", [(3, [2])]),
        ("COUNTWINDOW(2) FILTER (WHERE lag(v) > 0)", [(2, [5, 2])]),
    ],
)
async def test_windows_may_use_them(window: str, expected: list[tuple[int, list[int]]]) -> None:
    found = await emissions(f"SELECT v FROM demo GROUP BY {window}", rows(*READINGS))
    assert [(at, [row["v"] for row in emitted]) for at, emitted in found] == expected


async def test_rows_that_pass_where_are_counted() -> None:
    sql = "SELECT v, last_hit_count() AS c, last_hit_time() AS t FROM demo WHERE v > 1"
    assert await results(sql, *READINGS) == [
        {"v": 5, "c": 0, "t": 0},
        {"v": 2, "c": 1, "t": START + 1},
        {"v": 5, "c": 2, "t": START + 2},
    ]


async def test_where_may_stop_after_so_many_rows() -> None:
    sql = "SELECT v FROM demo WHERE v > 1 AND last_hit_count() < 2"
    assert await results(sql, *READINGS) == [{"v": 5}, {"v": 2}]


async def test_columns_that_changed_since_the_last_result() -> None:
    sql = "SELECT changed_cols('new_', true, k, v) FROM demo WHERE v != 2"
    assert await results(sql, *READINGS) == [
        {"new_k": "a", "new_v": 1},
        {"new_k": "b", "new_v": 5},
        {},
    ]
    sql = "SELECT changed_cols('', false, v) AS c FROM demo"
    assert await results(sql, {"v": 1}, {"v": 1}, {"v": None}) == [
        {"c": {"v": 1}},
        {"c": None},
        {"c": {"v": None}},
    ]


# -- over aggregates


async def test_over_aggregates_they_compare_windows() -> None:
    sql = (
        "SELECT k, sum(v) AS s, sum(v) - lag(sum(v)) OVER (PARTITION BY k) AS step "
        "FROM demo GROUP BY k, TUMBLINGWINDOW(ms, 2)"
    )
    found = rows(*({"k": k, "v": v} for k, v in [("a", 1), ("b", 5), ("a", 2), ("a", 2), ("b", 9)]))
    assert await emissions(sql, found, until=6) == [
        (2, [{"k": "a", "s": 1}, {"k": "b", "s": 5}]),
        (4, [{"k": "a", "s": 4, "step": 3}]),
        (6, [{"k": "b", "s": 9, "step": 4}]),
    ]


async def test_having_may_look_for_windows_that_differ() -> None:
    sql = (
        "SELECT count(*) AS n FROM demo GROUP BY TUMBLINGWINDOW(ms, 2) HAVING had_changed(true, n)"
    )
    found: Rows = [(0, {}), (1, {}), (2, {}), (3, {}), (4, {})]
    assert await emissions(sql, found, until=6) == [(2, [{"n": 2}]), (6, [{"n": 1}])]
