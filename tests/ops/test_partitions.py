"""The state of analytic functions by partition."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import RowError
from engine.functions.analytic import AccSum, HadChanged, Lag, Latest
from engine.functions.incremental import IncCount
from engine.functions.stateful import Tracker
from engine.ops.analytic import Partitions
from engine.state.codec import CODEC


def test_without_partition_by_there_is_one() -> None:
    partitions = Partitions(Lag)
    assert [partitions.step((), x) for x in (1, 2, 3)] == [None, 1, 2]
    assert len(partitions) == 1


def test_a_partition_is_a_tuple_of_typed_values() -> None:
    keys: list[Any] = [1, 1.0, "1", True, None, "", [1], [1.0], [True], {"a": 1}, {"a": 1.0}]
    partitions = Partitions(IncCount)
    assert [partitions.step((key,), 0) for key in keys] == [1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 2]
    assert Partitions(Lag).step(("a", "bc"), 1) is None
    partitions.step(("a", "bc"), 0)
    assert partitions.step(("ab", "c"), 0) == 1


def test_an_invalid_row_is_not_remembered() -> None:
    partitions = Partitions(HadChanged)
    assert partitions.step((1,), True, 5, valid=False) is False
    assert partitions.step((1,), True, 5) is True


def test_the_least_recently_used_partition_goes_and_is_counted() -> None:
    partitions = Partitions(Lag, max_partitions=2)
    for key in ("a", "b", "a", "c"):
        partitions.step((key,), key)
    assert partitions.partitions() == [("a",), ("c",)]
    assert partitions.evicted == 1
    assert partitions.step(("a",), 1) == "a"
    assert partitions.step(("b",), 1) is None
    assert partitions.evicted == 2
    with pytest.raises(ValueError, match="room for one"):
        Partitions(Lag, 0)


def test_an_error_leaves_other_partitions_alone() -> None:
    partitions = Partitions(AccSum)
    partitions.step(("a",), 1)
    with pytest.raises(RowError):
        partitions.step(("a",), "x")
    assert partitions.step(("a",), 2) == 3


def test_one_partition_can_be_moved() -> None:
    partitions, other = Partitions(Lag), Partitions(Lag)
    partitions.step((1, "a"), "x")
    partitions.step((2, "a"), "y")
    saved = msgspec.msgpack.encode(partitions.snapshot_of((1.0, "a")))
    other.restore_of((1, "a"), msgspec.msgpack.decode(saved))
    other.restore_of((3, "a"), partitions.snapshot_of((3, "a")))
    assert other.partitions() == [(1, "a")]
    assert other.step((1, "a"), 0) == "x"
    other.restore_of((1, "a"), None)
    assert len(other) == 0


keys = st.tuples(st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["1", 1.0, [1]]))


@given(st.lists(st.tuples(keys, st.integers(0, 3)), max_size=40), st.integers(0, 40))
def test_a_snapshot_can_be_taken_anywhere(rows: list[Any], at: int) -> None:
    partitions, other = Partitions(Lag, 3), Partitions(Lag, 3)
    for key, value in rows[:at]:
        partitions.step(key, value)
    other.restore(CODEC.decode(CODEC.encode(partitions.snapshot())))
    assert other.evicted == partitions.evicted
    assert len(other) == len(partitions) <= 3
    for key, value in rows[at:]:
        assert other.step(key, value) == partitions.step(key, value)


def test_a_snapshot_stays_as_it_was_though_it_is_read_later() -> None:
    partitions = Partitions(Latest)
    for number in range(3):
        partitions.step((number,), number)
    first = partitions.snapshot()
    partitions.step((1,), "second")
    second = partitions.snapshot()
    partitions.step((1,), "third")
    partitions.step((2,), "third")
    partitions.step((9,), "new")
    assert first == [0, [[[0], 0], [[1], 1], [[2], 2]]]
    assert second == [0, [[[0], 0], [[2], 2], [[1], "second"]]]
    assert CODEC.decode(CODEC.encode(first)) == [0, [[[0], 0], [[1], 1], [[2], 2]]]


def test_a_snapshot_is_sound_though_another_thread_reads_it() -> None:
    class Pair(Tracker):
        """Two numbers that are always the same, but for an instant."""

        def __init__(self) -> None:
            self.one = self.two = 0

        def step(self, x: Any, *, valid: bool) -> Any:
            self.one = x
            time.sleep(0)  # lets the other thread in
            self.two = x

        def snapshot(self) -> Any:
            one = self.one
            time.sleep(0)
            return [one, self.two]

        def restore(self, value: Any) -> None:
            self.one, self.two = value

    partitions = Partitions(Pair)
    for key in range(50):
        partitions.step((key,), 0)
    with ThreadPoolExecutor(1) as reader:
        for turn in range(1, 40):
            _, frozen = partitions.snapshot()
            reading = reader.submit(lambda each: [value for _, value in each], frozen)
            for key in range(50):
                partitions.step((key,), turn)
            assert reading.result() == [[turn - 1, turn - 1]] * 50
