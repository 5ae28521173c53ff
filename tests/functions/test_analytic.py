"""Analytic functions, as in the function catalogue, sections 11, 17 and 21."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ConfigError, RowError
from engine.sql.functions import FunctionSpec, builtins
from tests.functions.worked import examples, same, worked

ANALYTIC = [spec for spec in builtins() if spec.kind == "analytic"]
NAMES = [spec.name for spec in ANALYTIC]
CATALOGUE = {
    *("lag", "latest", "changed_col", "had_changed"),
    *("acc_sum", "acc_count", "acc_avg", "acc_min", "acc_max"),
    *("inc_count", "inc_sum", "inc_avg", "inc_max", "inc_min"),
    *("inc_merge_agg", "inc_collect", "inc_last_value"),
}
VALUES = [10, 10, None, None, 12.5, 12.5, 0, 10]
ODD = [index % 2 == 0 for index in range(len(VALUES))]

Row = tuple[tuple[Any, ...], bool]


def spec_of(name: str) -> FunctionSpec:
    spec = builtins().get(name)
    assert spec is not None
    assert spec.kind == "analytic"
    return spec


def new(name: str) -> Any:
    made = spec_of(name).tracker
    assert made is not None
    return made()


def stepped(name: str, rows: Sequence[tuple[Any, ...]], valid: Sequence[bool] = ()) -> list[Any]:
    tracker = new(name)
    flags = valid or [True] * len(rows)
    return [tracker.step(*row, valid=is_valid) for row, is_valid in zip(rows, flags, strict=True)]


def over(name: str, *arguments: Any, valid: Sequence[bool] = ()) -> list[Any]:
    """Return the values over ``VALUES``; ``...`` among the arguments stands for x."""
    rows = [tuple(x if a is ... else a for a in arguments) for x in VALUES]
    return stepped(name, rows, valid)


def test_all_of_the_catalogue_are_there() -> None:
    assert set(NAMES) == CATALOGUE


@pytest.mark.parametrize("text", examples("analytic"))
def test_an_example_is_true(text: str) -> None:
    spec, rows, expected = worked(text)
    values = stepped(spec.name, [arguments for _, arguments in rows])
    assert same(values, expected)


@pytest.mark.parametrize(
    ("arguments", "valid", "expected"),
    [
        ((...,), [], [None, 10, 10, 10, 10, 12.5, 12.5, 0]),
        ((..., 2), [], [None, None, 10, 10, 10, 10, 12.5, 12.5]),
        ((..., 2.0), [], [None, None, 10, 10, 10, 10, 12.5, 12.5]),
        ((..., 0, -1), [], [None] * 8),
        ((..., 1, -1), [], [-1, 10, 10, 10, 10, 12.5, 12.5, 0]),
        ((..., 1, -1, False), [], [-1, 10, 10, None, None, 12.5, 12.5, 0]),
        ((..., 2), ODD, [None, None, None, None, None, 10, 10, 12.5]),
        ((..., 1, -1, False), ODD, [-1, 10, 10, None, None, 12.5, 12.5, 0]),
    ],
)
def test_lag(arguments: Any, valid: list[bool], expected: list[Any]) -> None:
    assert over("lag", *arguments, valid=valid) == expected


def test_the_default_of_lag_is_that_of_the_row() -> None:
    rows = [(1, 2, "a"), (2, 2, "b"), (3, 2, "c")]
    assert stepped("lag", rows) == ["a", "b", 1]


@pytest.mark.parametrize("offset", [-1, 1.5, "1", True, None, 1_000_000])
def test_a_wrong_offset_is_an_error_of_the_row(offset: Any) -> None:
    with pytest.raises(RowError, match="lag: offset must be a whole number from 0 to"):
        new("lag").step(1, offset, valid=True)


def test_latest() -> None:
    assert over("latest", ...) == [10, 10, 10, 10, 12.5, 12.5, 0, 10]
    assert stepped("latest", [(None, 1), (None, 2), (False, 3), (None, 4)]) == [1, 2, False, False]
    assert stepped("latest", [(1, 0), (2, 0), (3, 0)], [False, True, False]) == [0, 2, 2]


def test_changed_col() -> None:
    expected = [10, None, None, None, 12.5, None, 0, 10]
    assert over("changed_col", True, ...) == expected
    assert over("changed_col", False, ...) == expected
    assert over("changed_col", True, ..., valid=ODD) == [10, None, None, None, 12.5, None, 0, None]
    assert stepped("changed_col", [(False, 1), (False, None), (False, 1)]) == [1, None, 1]


def test_had_changed() -> None:
    rows = [(True, 1, 1), (True, 1, 1), (True, 2, 1), (True, 2, None), (True, 2, 3)]
    assert stepped("had_changed", rows) == [True, False, True, False, True]
    rows = [(False, None), (False, 1), (False, None), (False, None)]
    assert stepped("had_changed", rows) == [False, True, True, False]
    rows = [(True, 1), (True, 2), (True, 2), (True, 2)]
    assert stepped("had_changed", rows, [True, False, True, True]) == [True, False, True, False]


def test_changes_are_deep_and_numbers_are_the_same_by_value() -> None:
    values = [1, 1.0, "1", True, 1, [1], [1.0], {"a": 1}, {"a": 1}, {"a": 2}]
    expected = [True, False, True, True, True, True, False, True, False, True]
    assert stepped("had_changed", [(True, value) for value in values]) == expected


@pytest.mark.parametrize("name", ["changed_col", "had_changed"])
@pytest.mark.parametrize("flag", [None, 1, "true"])
def test_ignore_null_must_be_a_boolean(name: str, flag: Any) -> None:
    with pytest.raises(RowError, match=f"{name}: ignore_null must be true or false"):
        new(name).step(flag, 1, valid=True)


RUNNING = [3, 5, None, -2, 5, 0.5, 10, None]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("acc_sum", [3, 8, 8, 6, 11, 11.5, 21.5, 21.5]),
        ("acc_count", [1, 2, 2, 3, 4, 5, 6, 6]),
        ("acc_max", [3, 5, 5, 5, 5, 5, 10, 10]),
        ("acc_min", [3, 3, 3, -2, -2, -2, -2, -2]),
        ("acc_avg", [3, 4, 4, 2, 2.75, 2.3, 21.5 / 6, 21.5 / 6]),
    ],
)
def test_running(name: str, expected: list[float]) -> None:
    assert stepped(name, [(x,) for x in RUNNING]) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("acc_sum", [0, 0, 0, -2, 3, 3.5, 13.5, 13.5]),
        ("acc_count", [0, 0, 0, 1, 2, 3, 4, 4]),
        ("acc_max", [0, 0, 0, -2, 5, 5, 10, 10]),
        ("acc_min", [0, 0, 0, -2, -2, -2, -2, -2]),
    ],
)
def test_running_over_rows_that_meet_a_condition(name: str, expected: list[float]) -> None:
    valid = [index > 2 for index in range(len(RUNNING))]
    assert stepped(name, [(x,) for x in RUNNING], valid) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("acc_sum", [0, 0, 3, 7, 12, 6, 0, 3]),
        ("acc_avg", [0, 0, 3, 3.5, 4, 6, 0, 3]),
        ("acc_max", [0, 0, 3, 4, 5, 6, 0, 3]),
        ("acc_min", [0, 0, 3, 3, 3, 6, 0, 3]),
        ("acc_count", [0, 0, 1, 2, 3, 1, 0, 1]),
    ],
)
def test_running_from_begin_to_reset(name: str, expected: list[float]) -> None:
    rows = [(x, x > 2, x > 4) for x in (1, 2, 3, 4, 5, 6, 1, 3)]
    assert stepped(name, rows) == expected


def test_a_null_condition_is_false_and_begin_counts_without_when() -> None:
    assert stepped("acc_sum", [(1, None, None), (2, True, None)]) == [0.0, 2.0]
    assert stepped("acc_sum", [(1, True, False), (2, False, False)], [False, True]) == [0.0, 2.0]


@pytest.mark.parametrize("name", ["acc_sum", "acc_avg", "acc_max", "acc_min"])
def test_a_row_with_an_error_changes_nothing(name: str) -> None:
    tracker = new(name)
    tracker.step(4, True, True, valid=True)
    before = tracker.snapshot()
    for arguments in (("x",), (True,), ([],), (10**400,), (1, 5, False), (1, True, "no")):
        with pytest.raises(RowError):
            tracker.step(*arguments, valid=True)
        assert tracker.snapshot() == before


def test_acc_count_takes_everything() -> None:
    values = [1, "2", "x", True, None, [], {}]
    assert stepped("acc_count", [(x,) for x in values]) == [1, 2, 3, 4, 4, 5, 6]


def test_nulls_do_not_wipe_a_running_aggregate() -> None:
    rows = [(3,), (1.5,), (7,), (None,), (2,)]
    assert stepped("inc_sum", rows) == [3, 4.5, 11.5, None, 13.5]
    assert stepped("inc_max", rows) == [3, 3, 7, None, 7]
    assert stepped("inc_collect", [(1,), (None,), (2,)]) == [[1], None, [1, 2]]
    assert stepped("inc_last_value", [(1, False), (None, False)]) == [1, None]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("acc_sum", [..., ...]),
        ("acc_count", [..., True]),
        ("lag", [..., -1]),
        ("lag", [..., None]),
        ("lag", [..., 10_000_000]),
        ("inc_last_value", [..., ...]),
    ],
)
def test_wrong_literals_are_refused(name: str, arguments: list[Any]) -> None:
    validate = spec_of(name).validate
    assert validate is not None
    with pytest.raises(ConfigError):
        validate(arguments)


def test_arity_is_that_of_the_catalogue() -> None:
    arities = {spec.name: (spec.least, spec.most) for spec in ANALYTIC}
    assert arities["lag"] == (1, 4)
    assert arities["latest"] == (1, 2)
    assert arities["changed_col"] == (2, 2)
    assert arities["had_changed"] == (2, None)
    assert arities["acc_sum"] == (1, 3)
    assert arities["inc_last_value"] == (2, 2)


values = st.one_of(
    st.none(),
    st.integers(-3, 3),
    st.sampled_from([0.1, 1.0, 2.5, 1e16]),
)
anything = st.one_of(values, st.booleans(), st.text(max_size=1), st.lists(values, max_size=2))
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "lag": (anything, st.just(2), anything, st.booleans()),
    "latest": (anything, anything),
    "changed_col": (st.booleans(), anything),
    "had_changed": (st.booleans(), anything, anything),
    "acc_count": (anything, st.none() | st.booleans(), st.none() | st.booleans()),
    "inc_last_value": (anything, st.booleans()),
    **{f"acc_{n}": (values, st.booleans(), st.booleans()) for n in ("sum", "avg", "max", "min")},
}


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_a_snapshot_can_be_taken_anywhere(name: str, data: st.DataObject) -> None:
    row = st.tuples(st.tuples(*ARGUMENTS.get(name, (values,))), st.booleans())
    rows: list[Row] = data.draw(st.lists(row, max_size=30))
    at = data.draw(st.integers(0, len(rows)))
    tracker, other = new(name), new(name)
    for arguments, valid in rows[:at]:
        tracker.step(*arguments, valid=valid)
    snapshot = tracker.snapshot()
    encoded = msgspec.msgpack.encode(snapshot)
    other.restore(msgspec.msgpack.decode(encoded))
    for arguments, valid in rows[at:]:
        expected = tracker.step(*arguments, valid=valid)
        assert same(other.step(*arguments, valid=valid), expected)
    assert msgspec.msgpack.encode(snapshot) == encoded  # later rows haven't reached it


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_a_row_that_is_not_valid_is_not_remembered(name: str, data: st.DataObject) -> None:
    tracker = new(name)
    row = st.tuples(*ARGUMENTS.get(name, (values,)))
    for arguments in data.draw(st.lists(row, max_size=10)):
        tracker.step(*arguments, valid=True)
    before = repr(tracker.snapshot())
    arguments = data.draw(row)
    if name.startswith("acc_"):
        arguments = arguments[:1]  # begin and reset count in any row
        tracker.step(None, valid=True)
        before = repr(tracker.snapshot())
    tracker.step(*arguments, valid=False)
    if name != "lag":  # its first row fixes the offset
        assert repr(tracker.snapshot()) == before
