"""Rows by key, as a table in memory holds them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.lookup.keyed import KeyedRows
from engine.lookup.match import equals_nothing, matching

VALUES = st.one_of(
    st.integers(0, 2),
    st.sampled_from([1.0, "1", True, False, None, float("nan")]),
    st.text("a", max_size=1),
)
ROWS = st.fixed_dictionaries(
    {"id": VALUES, "g": VALUES, "list": st.lists(st.integers(0, 1), max_size=1)}
)
CHANGES = st.lists(st.tuples(st.booleans(), ROWS), max_size=30)


@given(
    CHANGES,
    st.lists(st.sampled_from(["id", "g", "list"]), min_size=1, max_size=2, unique=True),
    ROWS,
)
def test_every_way_to_find_rows_gives_what_a_scan_would(
    changes: list[tuple[bool, dict[str, Any]]], columns: list[str], asked: dict[str, Any]
) -> None:
    table = KeyedRows("id", 1000)
    kept: list[dict[str, Any]] = []
    values = [asked[column] for column in columns]
    for deletes, row in changes:
        if equals_nothing([row["id"]]):
            continue
        same = matching(kept, ["id"], [row["id"]])
        kept = [other for other in kept if all(other is not row for row in same)]
        if deletes:
            table.delete(row["id"])
        else:
            table.put(row["id"], row)
            kept.append(row)
        assert table.find(columns, values) == matching(kept, columns, values)
    assert len(table) == len(kept)


def test_keys_are_typed() -> None:
    table = KeyedRows("id", 10)
    table.put(1, {"id": 1})
    assert table.find(["id"], [1.0]) == [{"id": 1}]
    assert table.find(["id"], ["1"]) == table.find(["id"], [True]) == []


def test_null_is_not_found_even_if_it_is_there() -> None:
    table = KeyedRows("id", 10)
    table.put(1, {"id": 1, "g": None})
    assert table.find(["g"], [None]) == []


def test_the_row_changed_longest_ago_makes_room_in_every_index() -> None:
    table = KeyedRows("id", 2)
    table.find(["g"], ["x"])
    for number in (1, 2, 1, 3):
        table.put(number, {"id": number, "g": "x"})
    assert [row["id"] for row in table.find(["g"], ["x"])] == [1, 3]
    assert table.evicted == 1


def test_a_row_that_its_owner_goes_on_changing_stays_as_it_was() -> None:
    table = KeyedRows("id", 10)
    row = {"id": 1, "g": "x"}
    table.put(1, row)
    table.find(["g"], ["x"])
    row["g"] = "y"
    assert table.find(["g"], ["x"]) == [{"id": 1, "g": "x"}]
    table.delete(1)
    assert table.find(["g"], ["x"]) == []
