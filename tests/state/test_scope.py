"""The state of plugins: checked when put, copied at an instant, restored where it belongs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.state.checkpoint import write_checkpoint
from engine.state.errors import MissingParts, StoreFailed, UnreadableState, Unstorable
from engine.state.scope import RuleState, StateScope, part_name, scope_key
from engine.state.store import CheckpointStore
from tests.state.state_types import Opaque, Point

F = "function[f]"


def restarted(parts: dict[str, bytes | None], base: int = 1) -> RuleState:
    state = RuleState()
    state.restore({name: data for name, data in parts.items() if data is not None}, base)
    return state


# -- put ---------------------------------------------------------------------------------------


def test_an_unstorable_value_fails_at_put_and_changes_nothing() -> None:
    scope = StateScope()
    scope.values["x"] = [1]
    changes = scope.changes
    with pytest.raises(Unstorable, match=r"state 'x': .*no way to store a Opaque"):
        scope.values["x"] = {"deep": [Opaque(1)]}
    assert scope.values["x"] == [1]
    assert scope.changes == changes


@pytest.mark.parametrize("key", [1, None, ("a",), "\ud800"])
def test_keys_are_valid_text(key: Any) -> None:
    scope = StateScope()
    with pytest.raises(Unstorable, match="key"):
        scope.values[key] = 1
    with pytest.raises(Unstorable, match="key"):
        scope.counters[key] = 1
    assert not len(scope)


@pytest.mark.parametrize("value", [1.0, True, "1", None])
def test_counters_are_whole_numbers(value: Any) -> None:
    scope = StateScope()
    with pytest.raises(Unstorable, match="counter 'n' counts whole numbers"):
        scope.counters["n"] = value


def test_values_and_counters_have_keys_of_their_own() -> None:
    scope = StateScope()
    scope.values["a"], scope.counters["a"] = "text", 1
    assert (scope.values["a"], scope.counters["a"]) == ("text", 1)
    scope.delete("a")
    scope.delete("a")
    assert not len(scope)


# -- copies and restoring ----------------------------------------------------------------------


def test_later_changes_do_not_reach_a_snapshot() -> None:
    state = RuleState()
    scope = state.scope(F, 0)
    words = {"a": [1]}
    scope.values["words"], scope.values["n"], scope.counters["c"] = words, 1, 1
    snapshot = state.snapshot()
    words["a"].append(2)
    words["b"] = object()  # type: ignore[assignment]  # what put would refuse
    scope.values["n"] = scope.counters["c"] = 2
    del scope.values["words"]
    restored = restarted(snapshot.parts()).scope(F, 0)
    assert dict(restored.values) == {"words": {"a": [1]}, "n": 1}
    assert dict(restored.counters) == {"c": 1}


def test_a_value_that_becomes_a_scalar_is_stored_as_that() -> None:
    state = RuleState()
    scope = state.scope(F, 0)
    scope.values["x"] = [1, 2]
    scope.values["x"] = 3
    assert restarted(state.snapshot().parts()).scope(F, 0).values["x"] == 3


KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
VALUES = st.one_of(
    st.none(),
    st.integers(),
    st.integers(1 << 64, 1 << 90),
    st.text(),
    st.just("\ud800"),
    st.lists(st.integers()),
    st.lists(st.integers()).map(tuple),
    st.dictionaries(st.integers(), st.floats(allow_nan=False)),
)


@given(st.lists(st.tuples(KEYS, VALUES | st.just(...), st.integers())))
def test_what_was_put_is_what_is_restored(puts: list[tuple[str, Any, int]]) -> None:
    state = RuleState()
    scope = state.scope(F, 2)
    expected: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for key, value, amount in puts:
        if value is ...:
            scope.delete(key)
            expected.pop(key, None)
            counts.pop(key, None)
        else:
            scope.values[key] = expected[key] = value
            scope.counters[key] = counts[key] = counts.get(key, 0) + amount
    restored = restarted(state.snapshot().parts()).scope(F, 2)
    assert dict(restored.values) == expected
    assert dict(restored.counters) == counts
    again = restarted(state.snapshot().parts())
    again.scope(F, 2).values["more"] = (1,)
    assert restarted(again.snapshot().parts()).scope(F, 2).values["more"] == (1,)


def test_scopes_are_kept_apart() -> None:
    state = RuleState()
    for op_id, instance in (("a", 0), ("a", 1), ("b#1", 0)):
        state.scope(op_id, instance).values["k"] = [op_id, instance]
    restored = restarted(state.snapshot().parts())
    for op_id, instance in (("a", 0), ("a", 1), ("b#1", 0)):
        assert restored.scope(op_id, instance).values["k"] == [op_id, instance]


def test_scopes_in_use_are_refilled_in_place() -> None:
    state = RuleState()
    scope, other = state.scope(F, 0), state.scope(F, 1)
    scope.values["x"], scope.counters["n"] = (1,), 1
    parts = {name: data for name, data in state.snapshot().parts().items() if data is not None}
    scope.values["x"], scope.values["y"], other.values["z"] = 5, 6, 7
    state.restore(parts, 1)
    assert dict(scope.values) == {"x": (1,)}
    assert dict(scope.counters) == {"n": 1}
    assert not len(other)


def test_state_that_nobody_asks_for_is_told_and_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "c.db")
    state = RuleState()
    state.scope("gone", 0).values["x"] = 1
    state.scope(F, 0).values["x"] = 2
    write_checkpoint(store, "r", 1, state.snapshot())
    for number in (2, 3):
        state = loaded(store)
        assert state.scope(F, 0).values["x"] == 2
        assert state.unclaimed == [("gone", 0)]
        write_checkpoint(store, "r", number, state.snapshot())
    assert loaded(store).scope("gone", 0).values["x"] == 1
    state.drop_unclaimed()
    write_checkpoint(store, "r", 4, state.snapshot())
    assert not len(loaded(store).scope("gone", 0))


def test_state_that_does_not_fit_names_operator_and_key() -> None:
    state = RuleState()
    state.scope(F, 0).values["p"] = Point(1, 2)
    parts = state.snapshot().parts()
    broken = {n: d.replace(b"Point", b"Pxxxx") for n, d in parts.items() if d is not None}
    with pytest.raises(UnreadableState, match=r"function\[f\]/0: state 'p': .*Pxxxx"):
        restarted(dict(broken)).scope(F, 0)


@given(st.binary(max_size=40))
def test_a_damaged_scope_is_a_clean_error(noise: bytes) -> None:
    scope = StateScope()
    scope.values["x"] = 1
    try:
        scope.restore(noise)
    except UnreadableState:
        assert scope.values["x"] == 1


def test_names_of_parts_and_scopes() -> None:
    assert scope_key(part_name("b#1", 3)) == ("b#1", 3)
    assert scope_key("window") is None
    assert scope_key("scope:a#x") is None


# -- what hasn't changed isn't written again ---------------------------------------------------


def loaded(store: CheckpointStore) -> RuleState:
    checkpoint = store.load("r").checkpoint
    assert checkpoint is not None
    state = RuleState()
    state.restore(checkpoint.parts, checkpoint.number)
    return state


def test_only_changed_scopes_are_encoded_again(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "c.db")
    state = RuleState()
    for instance in range(3):
        state.scope(F, instance).values["x"] = instance
    write_checkpoint(store, "r", 1, state.snapshot())
    state.scope(F, 1).counters["n"] = 1
    parts = state.snapshot().parts()
    assert [name for name, data in parts.items() if data is not None] == [part_name(F, 1)]
    write_checkpoint(store, "r", 2, state.snapshot())
    assert not any(state.snapshot().parts().values())
    restored = loaded(store)
    assert [restored.scope(F, n).values["x"] for n in range(3)] == [0, 1, 2]
    assert restored.scope(F, 1).counters["n"] == 1
    assert not any(restored.snapshot().parts().values())


def test_a_change_while_a_checkpoint_is_written_goes_into_the_next(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "c.db")
    state = RuleState()
    scope = state.scope(F, 0)
    scope.values["x"] = 1
    snapshot = state.snapshot()
    scope.values["x"] = 2
    write_checkpoint(store, "r", 1, snapshot)
    assert loaded(store).scope(F, 0).values["x"] == 1
    write_checkpoint(store, "r", 2, state.snapshot())
    assert loaded(store).scope(F, 0).values["x"] == 2


def test_after_a_failed_write_nothing_is_taken_for_stored(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "c.db")
    state = RuleState()
    state.scope(F, 0).values["x"] = 1
    write_checkpoint(store, "r", 5, state.snapshot())
    state.scope(F, 0).values["x"] = 2
    with pytest.raises(StoreFailed):
        write_checkpoint(store, "r", 5, state.snapshot())
    write_checkpoint(store, "r", 6, state.snapshot())
    assert loaded(store).scope(F, 0).values["x"] == 2


def test_a_store_that_was_emptied_gets_everything_again(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "c.db")
    state = RuleState()
    state.scope(F, 0).values["x"] = 1
    write_checkpoint(store, "r", 1, state.snapshot())
    store.delete("r")
    with pytest.raises(MissingParts):
        write_checkpoint(store, "r", 2, state.snapshot())
    write_checkpoint(store, "r", 3, state.snapshot())
    assert loaded(store).scope(F, 0).values["x"] == 1


def test_a_rule_that_is_cleared_remembers_nothing(tmp_path: Path) -> None:
    state = RuleState()
    state.scope(F, 0).values["x"] = 1
    state.clear()
    assert not len(state.scope(F, 0))
    assert not state.snapshot().parts()


def test_a_hundred_thousand_keys_are_copied_in_an_instant() -> None:
    state = RuleState()
    scope = state.scope(F, 0)
    for number in range(100_000):
        scope.values[f"key{number}"] = {"count": number, "sum": 1.5}
    start = time.perf_counter()
    snapshot = state.snapshot()
    assert time.perf_counter() - start < 0.1
    assert len(restarted(snapshot.parts()).scope(F, 0)) == 100_000
