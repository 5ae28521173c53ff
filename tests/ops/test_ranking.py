"""row_number, rank and dense_rank."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.ops.ranking import dense_rank, ordered, rank, row_number


def test_rows_are_numbered_in_their_partition() -> None:
    partitions = ["a", "b", "a", "a", "b"]
    assert row_number(partitions, [()] * 5, []) == [1, 1, 2, 3, 2]
    assert rank(partitions, [()] * 5, []) == [1, 1, 1, 1, 1]
    assert row_number([], [], []) == []


def test_ties_are_in_order_of_arrival_and_share_a_rank() -> None:
    keys = [(3,), (1,), (3.0,), (2,), (1,)]
    one = [()] * 5
    assert row_number(one, keys, [False]) == [4, 1, 5, 3, 2]
    assert rank(one, keys, [False]) == [4, 1, 4, 3, 1]
    assert dense_rank(one, keys, [False]) == [3, 1, 3, 2, 1]
    assert row_number(one, keys, [True]) == [1, 4, 2, 3, 5]
    assert rank(one, keys, [True]) == [1, 4, 1, 3, 4]


def test_later_keys_decide_ties() -> None:
    keys = [("b", 1), ("a", 1), ("a", 2), (None, 2), (None, 1)]
    assert row_number([()] * 5, keys, [False, True]) == [3, 2, 1, 4, 5]
    assert row_number([()] * 5, keys, [True, False]) == [1, 2, 3, 5, 4]
    assert dense_rank([()] * 5, keys, [False, False]) == [3, 1, 2, 5, 4]


def test_kinds_have_an_order_and_nulls_are_last() -> None:
    noon = datetime(2024, 1, 1, tzinfo=UTC)
    values: list[Any] = [None, noon, True, False, "a", 2.5, 1, [3], {}, [1]]
    keys = [(value,) for value in values]
    positions = range(len(values))
    expected = [1, 2.5, "a", False, True, noon, [3], {}, [1], None]
    assert [values[n] for n in ordered(positions, keys, [False])] == expected
    descending = [[3], {}, [1], noon, True, False, "a", 2.5, 1, None]
    assert [values[n] for n in ordered(positions, keys, [True])] == descending
    assert rank([()] * 10, keys, [False])[-3:] == [7, 7, 7]


key = st.none() | st.integers(0, 3)


@given(st.lists(st.tuples(st.integers(0, 2), key, key), max_size=30), st.booleans(), st.booleans())
def test_laws(rows: list[Any], first: bool, second: bool) -> None:
    partitions = [row[0] for row in rows]
    keys = [row[1:] for row in rows]
    descending = [first, second]
    numbers = row_number(partitions, keys, descending)
    ranks = rank(partitions, keys, descending)
    dense = dense_rank(partitions, keys, descending)
    for partition in set(partitions):
        members = [n for n, other in enumerate(partitions) if other == partition]
        assert sorted(numbers[n] for n in members) == list(range(1, len(members) + 1))
        assert {dense[n] for n in members} == set(range(1, len({keys[n] for n in members}) + 1))
        for n in members:
            ties = [m for m in members if keys[m] == keys[n]]
            assert ranks[n] == min(numbers[m] for m in ties)
            assert {dense[m] for m in ties} == {dense[n]}
