"""changed_cols, and the counters of hits."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from engine.ops.changed_columns import ChangedColumns
from engine.ops.hits import HitCount, HitTime


def stepped(
    changed: ChangedColumns, rows: list[dict[str, Any]], prefix: str = "", ignore_null: bool = True
) -> list[dict[str, Any]]:
    return [changed.step(prefix, ignore_null, row.items()) for row in rows]


def test_only_what_changed_is_given_and_nulls_are_passed_over() -> None:
    rows = [
        {"a": 1, "b": "x"},
        {"a": 1.0, "b": "x"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": None},
        {"a": 2, "b": "y"},
        {"a": None, "b": "y"},
    ]
    assert stepped(ChangedColumns(), rows, "c_") == [
        {"c_a": 1, "c_b": "x"},
        {},
        {"c_a": 2},
        {},
        {"c_b": "y"},
        {},
    ]


def test_a_change_to_null_is_given_as_null() -> None:
    rows = [{"a": None}, {"a": 1}, {"a": None}, {"a": None}, {"a": 1}]
    assert stepped(ChangedColumns(), rows, ignore_null=False) == [
        {},
        {"a": 1},
        {"a": None},
        {},
        {"a": 1},
    ]


def test_kinds_are_told_apart() -> None:
    rows = [{"a": 1}, {"a": "1"}, {"a": True}, {"a": 1.0}, {"a": [1]}, {"a": [1.0]}]
    changes = stepped(ChangedColumns(), rows)
    assert changes == [{"a": 1}, {"a": "1"}, {"a": True}, {"a": 1.0}, {"a": [1]}, {}]


def test_columns_may_come_and_go() -> None:
    rows = [{"a": 1, "b": 2}, {"a": 1, "b": 3}, {"b": 4, "z": 0}, {"a": 1, "b": 4}]
    assert stepped(ChangedColumns(), rows) == [
        {"a": 1, "b": 2},
        {"b": 3},
        {"b": 4, "z": 0},
        {},
    ]


row = st.dictionaries(st.sampled_from("ab"), st.none() | st.integers(0, 2) | st.booleans())


@given(st.lists(row, max_size=20), st.integers(0, 20), st.booleans())
def test_a_snapshot_can_be_taken_anywhere(
    rows: list[dict[str, Any]], at: int, ignore_null: bool
) -> None:
    changed, other = ChangedColumns(), ChangedColumns()
    stepped(changed, rows[:at], "", ignore_null)
    other.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(changed.snapshot())))
    after = repr(stepped(changed, rows[at:], "", ignore_null))
    assert repr(stepped(other, rows[at:], "", ignore_null)) == after


def test_hits_count_those_before() -> None:
    count, time = HitCount(), HitTime()
    seen = []
    for now in (100, 200, 300):
        seen.append((count.value(), time.value()))
        count.hit(now)
        time.hit(now)
    assert seen == [(0, 0), (1, 100), (2, 200)]
    again, later = HitCount(), HitTime()
    again.restore(count.snapshot())
    later.restore(time.snapshot())
    assert (again.value(), later.value()) == (3, 300)
