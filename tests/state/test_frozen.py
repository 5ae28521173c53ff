"""Lists that are made when they are read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.state.codec import CODEC
from engine.state.errors import Unstorable
from engine.state.frozen import Frozen


def frozen(values: list[Any]) -> Frozen:
    return Frozen(len(values), lambda: iter(values))


@given(st.lists(st.one_of(st.integers(), st.text(), st.tuples(st.binary()), st.none())))
def test_they_are_stored_as_lists_are(values: list[Any]) -> None:
    assert CODEC.decode(CODEC.encode(frozen(values))) == values
    nested = {"a": [frozen(values), frozen([frozen(values)])]}
    assert CODEC.decode(CODEC.encode(nested)) == {"a": [values, [values]]}


def test_they_behave_as_lists_do() -> None:
    values = [1, [2], "three"]
    made = frozen(values)
    assert made == values
    assert made == frozen(values)
    assert made != [1, [2]]
    assert (len(made), made[1], made[-1], made[:2]) == (3, [2], "three", [1, [2]])
    assert list(made) == list(made)


def test_what_cannot_be_stored_is_told_with_its_place() -> None:
    with pytest.raises(Unstorable, match=r"at a\[1\]\[0\]"):
        CODEC.encode({"a": frozen([1, [object()]])})
