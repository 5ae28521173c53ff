"""Keys of groups and partitions: what is the same, and that snapshots can hold them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.ops.fold import thawed
from engine.sql.keys import typed_key


@pytest.mark.parametrize("value", [None, 1, 2.5, "a", True, [1, [True]], b"x"])
def test_a_key_is_the_same_after_it_was_written_down(value: Any) -> None:
    key = typed_key((value, 0))
    assert thawed(msgspec.msgpack.decode(msgspec.msgpack.encode(key))) == key


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (0, False), (1, "1"), (None, "None"), ([1], [True]), ([], {})]
)
def test_values_of_different_kinds_are_different_keys(one: Any, other: Any) -> None:
    assert typed_key((one,)) != typed_key((other,))


def test_numbers_and_objects_count_by_what_they_are_worth() -> None:
    assert typed_key((1, {"a": [1.0], "b": 2})) == typed_key((1.0, {"b": 2, "a": [1]}))
