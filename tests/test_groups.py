"""What a window gives: groups, HAVING, ranking, ORDER BY, LIMIT, functions over results."""

from __future__ import annotations

from typing import Any

import pytest

from engine.batch import Row
from engine.testing import START
from tests.virtual import Rows, emissions, outcome

WINDOW = "TUMBLINGWINDOW(ss, 1)"


def rows(*found: Row) -> Rows:
    """Return rows that come one ms after the other."""
    return list(enumerate(found))


async def window(select: str, tail: str, *found: Row, by: str = "") -> list[Row]:
    """Return what one window emits; ``tail`` are the clauses behind GROUP BY."""
    sql = f"SELECT {select} FROM demo GROUP BY {by}{', ' * bool(by)}{WINDOW} {tail}"
    emitted = await emissions(sql, rows(*found), until=1_000)
    return [row for _, result in emitted for row in result]


# -- groups


async def test_groups_come_in_the_order_of_their_first_rows_with_the_columns_of_those() -> None:
    found = await window(
        "k, v, count(*) AS n, sum(v) AS s",
        "",
        {"k": "b", "v": 1},
        {"k": "a", "v": 2},
        {"k": "b", "v": 3},
        by="k",
    )
    assert found == [{"k": "b", "v": 1, "n": 2, "s": 4}, {"k": "a", "v": 2, "n": 1, "s": 2}]


async def test_keys_are_values_of_a_kind() -> None:
    keys: list[Any] = [1, "1", 1.0, True, None, "1,", [1], {"a": 1}, [1.0]]
    found = await window(
        "collect(i) AS c", "", *({"k": k, "i": i} for i, k in enumerate(keys)), {"i": 9}, by="k"
    )
    assert [row["c"] for row in found] == [[0, 2], [1], [3], [4, 9], [5], [6, 8], [7]]


async def test_a_key_is_any_expression_also_an_alias() -> None:
    found = await window("v % 2 AS odd, count(*) AS n", "", {"v": 1}, {"v": 2}, {"v": 3}, by="odd")
    assert found == [{"odd": 1, "n": 2}, {"odd": 0, "n": 1}]


async def test_group_by_without_an_aggregate_gives_a_row_for_each_group() -> None:
    found = await window("k, v", "", {"k": 1, "v": 1}, {"k": 1, "v": 2}, {"k": 2, "v": 3}, by="k")
    assert found == [{"k": 1, "v": 1}, {"k": 2, "v": 3}]


async def test_without_a_window_an_aggregate_is_that_of_each_row() -> None:
    sql = "SELECT count(*) AS n, sum(v) AS s FROM demo HAVING sum(v) > 1"
    assert await emissions(sql, rows({"v": 1}, {"v": 2}, {"v": 3})) == [
        (1, [{"n": 1, "s": 2}]),
        (2, [{"n": 1, "s": 3}]),
    ]


async def test_without_a_window_a_row_is_a_group_of_its_own() -> None:
    sql = "SELECT v, row_number() AS n, rank() OVER (ORDER BY v) AS r FROM demo HAVING v > 1"
    assert await emissions(sql, rows({"v": 1}, {"v": 2})) == [(1, [{"v": 2, "n": 1, "r": 1}])]


async def test_an_aggregate_may_have_a_filter_of_its_own() -> None:
    found = await window(
        "count(*) AS n, count(*) FILTER (WHERE v > 1) AS big, avg(v) FILTER (WHERE v > 9) AS a",
        "",
        {"v": 1},
        {"v": 2},
        {"v": 3},
    )
    assert found == [{"n": 3, "big": 2}]


async def test_whole_numbers_and_others_are_added_up_as_they_are() -> None:
    found = await window(
        "sum(v) AS s, avg(v) AS a, max(v) AS m, collect(v) AS c",
        "",
        {"v": 1},
        {"v": None},
        {"v": 2.5},
        {},
    )
    assert found == [{"s": 3.5, "a": 1.75, "m": 2.5, "c": [1, None, 2.5, None]}]


# -- HAVING


@pytest.mark.parametrize(
    ("having", "kept"),
    [
        ("count(*) > 1", ["a"]),
        ("k = 'b'", ["b"]),
        ("s > 4", ["b"]),
        ("sum(w) > 0", []),
        ("v = 1 AND window_end() > 0", ["a"]),
        ("min(v) + 1 = 2", ["a"]),
    ],
)
async def test_having_keeps_groups(having: str, kept: list[str]) -> None:
    found = await window(
        "k, sum(v) AS s",
        f"HAVING {having}",
        {"k": "a", "v": 1},
        {"k": "a", "v": 3},
        {"k": "b", "v": 5},
        by="k",
    )
    assert [row["k"] for row in found] == kept


async def test_an_error_in_having_is_one_of_its_group() -> None:
    sql = f"SELECT k FROM demo GROUP BY k, {WINDOW} HAVING k > 1"
    found = await outcome(sql, rows({"k": "a"}, {"k": 2}), until=1_000)
    assert (found.rows, sum(found.errors.values())) == ([{"k": 2}], 1)


# -- ORDER BY and LIMIT


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("v", [1, 3, 0, 2, 4]),
        ("v DESC", [0, 3, 1, 2, 4]),
        ("s, v", [3, 1, 0, 4, 2]),
        ("s DESC, v DESC", [0, 1, 4, 3, 2]),
        ("v + 0 DESC LIMIT 2", [0, 3]),
        ("i DESC LIMIT 1", [4]),
        ("s DESC", [0, 1, 4, 3, 2]),
    ],
)
async def test_nulls_come_last_and_ties_stay_as_they_came(order: str, expected: list[int]) -> None:
    found = await window(
        "i",
        f"ORDER BY {order}",
        {"i": 0, "v": 3, "s": "y"},
        {"i": 1, "v": 1, "s": "y"},
        {"i": 2, "v": None},
        {"i": 3, "v": 1.5, "s": "x"},
        {"i": 4, "s": "y"},
    )
    assert [row["i"] for row in found] == expected


async def test_values_of_several_kinds_have_an_order() -> None:
    found = await window(
        "v", "ORDER BY v", *({"v": v} for v in (True, "b", 2, None, "a", 1.5, False))
    )
    assert [row["v"] for row in found] == [1.5, 2, "a", "b", False, True, None]


async def test_groups_are_ordered_by_their_aggregates() -> None:
    found = await window(
        "k, count(*) AS n", "ORDER BY n DESC, k LIMIT 2", *({"k": k} for k in "cabbca"), by="k"
    )
    assert found == [{"k": "a", "n": 2}, {"k": "b", "n": 2}]


async def test_a_limit_of_nothing_emits_nothing() -> None:
    assert await window("v", "LIMIT 0", {"v": 1}) == []


# -- ranking


async def test_rows_are_numbered_in_the_order_in_which_they_came() -> None:
    found = await window("row_number() AS n, v", "ORDER BY v", {"v": 3}, {"v": 1}, {"v": 2})
    assert found == [{"n": 2, "v": 1}, {"n": 3, "v": 2}, {"n": 1, "v": 3}]


async def test_ranks_by_partition_and_order() -> None:
    over = "OVER (PARTITION BY k ORDER BY v DESC)"
    found = await window(
        f"i, row_number() {over} AS n, rank() {over} AS r, dense_rank() {over} AS d",
        "",
        {"i": 0, "k": "a", "v": 1},
        {"i": 1, "k": "a", "v": 5},
        {"i": 2, "k": "b", "v": 9},
        {"i": 3, "k": "a", "v": 5},
        {"i": 4, "k": "a"},
    )
    assert found == [
        {"i": 0, "n": 3, "r": 3, "d": 2},
        {"i": 1, "n": 1, "r": 1, "d": 1},
        {"i": 2, "n": 1, "r": 1, "d": 1},
        {"i": 3, "n": 2, "r": 1, "d": 1},
        {"i": 4, "n": 4, "r": 4, "d": 3},
    ]


async def test_groups_are_ranked_after_having() -> None:
    found = await window(
        "k, rank() OVER (ORDER BY sum(v) DESC) AS r",
        "HAVING count(*) > 1",
        *({"k": k, "v": v} for k, v in [("a", 1), ("b", 9), ("c", 2), ("a", 1), ("c", 5)]),
        by="k",
    )
    assert found == [{"k": "a", "r": 2}, {"k": "c", "r": 1}]


# -- several rows for one


async def test_the_elements_of_a_list_make_rows_of_one_emission() -> None:
    sql = f"SELECT i, unnest(l) AS e FROM demo GROUP BY {WINDOW} ORDER BY i DESC LIMIT 3"
    found = rows({"i": 1, "l": [1, 2]}, {"i": 2, "l": []}, {"i": 3, "l": [{"x": 1}, 4]})
    assert await emissions(sql, found, until=1_000) == [
        (1_000, [{"i": 3, "x": 1}, {"i": 3, "e": 4}, {"i": 1, "e": 1}])
    ]


async def test_a_collected_list_can_be_taken_apart() -> None:
    assert await window("unnest(collect(v)) AS e", "", {"v": 1}, {"v": 2}) == [{"e": 1}, {"e": 2}]


# -- what results remember


async def test_changed_columns_are_those_of_results() -> None:
    sql = f"SELECT changed_cols('c_', true, k, avg(v)) FROM demo GROUP BY {WINDOW}"
    found = [(0, {"k": "a", "v": 1}), (1_000, {"k": "a", "v": 2}), (2_000, {"k": "a", "v": 2})]
    assert await emissions(sql, found, until=3_000) == [
        (1_000, [{"c_k": "a", "c_avg": 1.0}]),
        (2_000, [{"c_avg": 2.0}]),
        (3_000, [{}]),
    ]


async def test_windows_that_pass_having_are_counted() -> None:
    sql = (
        "SELECT count(*) AS n, last_agg_hit_count() AS c, last_agg_hit_time() AS t "
        f"FROM demo GROUP BY {WINDOW} HAVING count(*) > 1"
    )
    found: Rows = [(0, {}), (1, {}), (1_000, {}), (2_000, {}), (2_001, {}), (2_002, {})]
    assert await emissions(sql, found, until=3_000) == [
        (1_000, [{"n": 2, "c": 0, "t": 0}]),
        (3_000, [{"n": 3, "c": 1, "t": START + 1_000}]),
    ]


async def test_having_may_stop_after_so_many_windows() -> None:
    sql = f"SELECT count(*) AS n FROM demo GROUP BY {WINDOW} HAVING last_agg_hit_count() < 2"
    assert [at for at, _ in await emissions(sql, [], until=9_000)] == [1_000, 2_000]
