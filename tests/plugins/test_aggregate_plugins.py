"""Functions over the rows of a group, written as plugins."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import Engine
from engine.api import AggregateFunction
from engine.errors import ConfigError, RowError
from engine.functions.stateful import Accumulator
from engine.registry import PluginKind
from engine.run.accumulators import accumulator_of
from engine.sql.functions import FunctionSpec
from tests.plugins.folder import PluginRoot

SPREAD = """\
from __future__ import annotations
from engine.api import AggregateFunction, ConfigError

class Spread(AggregateFunction):
    '''spread(value[, factor]): the range of the values.'''

    def __init__(self):
        self.values = []

    def validate(self, args):
        if len(args) > 1 and args[1] == 0:
            raise ConfigError("the factor is 0")

    def add(self, value: float | None, factor: float = 1):
        if value is not None:
            self.values.append(value * factor)

    def merge(self, newer):
        self.values += newer.values

    def result(self):
        return max(self.values) - min(self.values) if self.values else None
"""


class Spread(AggregateFunction):
    """The same for tests of the laws."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def add(self, *args: Any) -> None:
        if args[0] is not None:
            self.values.append(args[0])

    def remove(self, *args: Any) -> None:
        if args[0] is not None:
            self.values.remove(args[0])

    def merge(self, newer: AggregateFunction) -> None:
        assert isinstance(newer, Spread)
        self.values += newer.values

    def result(self) -> Any:
        return max(self.values) - min(self.values) if self.values else None


def spec_of(root: PluginRoot, text: str, name: str = "spread") -> FunctionSpec:
    root.write("functions", f"{name}.py", text)
    spec = Engine(root.path).functions.get(name)
    assert spec is not None
    return spec


def test_an_aggregate_plugin_is_an_aggregate_function(root: PluginRoot) -> None:
    spec = spec_of(root, SPREAD)
    assert (spec.kind, spec.stateless, spec.wants_row) == ("aggregate", False, False)
    assert spec.signature == "spread(value float, [factor float])"
    assert spec.doc == "spread(value[, factor]): the range of the values."
    assert spec.accumulator is not None
    group, other = spec.accumulator(), spec.accumulator()
    assert isinstance(group, Accumulator)
    for value in (3, None, 10):
        group.add(value)
    other.add(5, 4)
    assert (group.result(), other.result()) == (7, 0)
    assert not hasattr(group, "remove")
    assert spec.validate is not None
    with pytest.raises(ConfigError, match="the factor is 0"):
        spec.validate([..., 0])


def test_an_aggregate_may_ask_for_the_row(root: PluginRoot) -> None:
    text = SPREAD.replace("def add(self, value: float | None,", "def add(self, row, value,")
    spec = spec_of(root, text)
    assert spec.wants_row
    assert spec.signature == "spread(value any, [factor float])"


def test_a_row_that_an_aggregate_cant_take_makes_an_error_of_the_result(root: PluginRoot) -> None:
    made = spec_of(root, SPREAD).accumulator
    assert made is not None
    group = made()
    group.add(1, 1)
    group.add("x", 1.5)
    with pytest.raises(RowError, match=r"spread: TypeError: can't multiply .* at .*spread.py:\d+"):
        group.result()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("def add(self, value", "def add(self, ctx, value", ":14: add gets no context"),
        ("def result(self)", "def results(self)", ":4: Spread has no result"),
        ("def merge(self, newer)", "def merge(self)", ":18: Spread.merge doesn't take"),
        ("def add(", "async def add(", ":14: Spread.add must not be async"),
        ("def __init__(self)", "def __init__(self, size)", r"Spread\(\) needs size"),
        ("class Spread(", "class Other(", "spread.py:4: expected the symbol Spread, found Other"),
    ],
)
def test_an_aggregate_that_breaks_the_contract_is_refused(
    root: PluginRoot, old: str, new: str, message: str
) -> None:
    with pytest.raises(Exception, match=message):
        spec_of(root, SPREAD.replace(old, new))


def test_an_aggregate_is_exported_as_a_class(root: PluginRoot) -> None:
    text = SPREAD.replace("class Spread", "class _Spread")
    with pytest.raises(Exception, match="Spread is an instance"):
        spec_of(root, f"{text}\nSpread = _Spread()\n")
    with pytest.raises(Exception, match="Spread is a factory"):
        spec_of(root, f"{text}\ndef Spread():\n    return _Spread()\n")


def test_a_description_says_that_it_is_an_aggregate(root: PluginRoot) -> None:
    root.write("functions", "spread.py", SPREAD)
    described = root.registry.describe(PluginKind.FUNCTION, "spread")
    assert described.roles == ("aggregate",)
    assert described.error == ""


VALUES = st.lists(st.none() | st.integers(-9, 9), max_size=12)
MADE = accumulator_of(Spread, "spread")


def grouped(values: list[int | None]) -> Any:
    group = MADE()
    for value in values:
        group.add(value)
    return group


@given(VALUES, VALUES)
def test_merging_equals_adding_one_by_one_and_changes_neither(
    first: list[int | None], second: list[int | None]
) -> None:
    older, newer = grouped(first), grouped(second)
    merged = older.merge(newer)
    assert merged.result() == grouped(first + second).result()
    assert older.snapshot() == grouped(first).snapshot()
    assert newer.snapshot() == grouped(second).snapshot()
    merged.add(100)
    assert older.snapshot() == grouped(first).snapshot()


@given(VALUES, VALUES)
def test_a_snapshot_is_data_that_later_rows_do_not_change(
    first: list[int | None], second: list[int | None]
) -> None:
    group = grouped(first)
    snapshot = group.snapshot()
    stored = msgspec.msgpack.encode(snapshot)
    for value in second:
        group.add(value)
    assert msgspec.msgpack.encode(snapshot) == stored
    again = MADE()
    again.add(1)
    again.restore(msgspec.msgpack.decode(stored))
    for value in second:
        again.add(value)
    assert again.result() == group.result()


@given(VALUES, VALUES)
def test_an_aggregate_that_can_gives_up_its_oldest_rows(
    first: list[int | None], second: list[int | None]
) -> None:
    group = grouped(first + second)
    for value in first:
        group.remove(value)
    assert group.result() == grouped(second).result()


class Picky(AggregateFunction):
    """The values in order; raises for negative ones before anything has changed."""

    def __init__(self) -> None:
        self.values: list[int] = []

    def add(self, value: int) -> None:
        if value < 0:
            raise ValueError(f"{value} is negative")
        self.values.append(value)

    def remove(self, value: int) -> None:
        assert self.values.pop(0) == value

    def merge(self, newer: Picky) -> None:
        self.values += newer.values

    def result(self) -> list[int]:
        return list(self.values)


PICKY = accumulator_of(Picky, "picky")
STEPS = st.lists(st.one_of(st.integers(-3, 9), st.just("remove"), st.just("save")), max_size=20)


def picked(steps: list[Any]) -> tuple[Any, list[int]]:
    """Return an object after some steps, and the rows that are left in it."""
    group, rows = PICKY(), []
    for step in steps:
        if step == "save":
            saved = msgspec.msgpack.decode(msgspec.msgpack.encode(group.snapshot()))
            group = PICKY()
            group.restore(saved)
        elif step != "remove":
            group.add(step)
            rows.append(step)
        elif rows:
            group.remove(rows.pop(0))
    return group, rows


@given(STEPS, STEPS)
def test_the_result_is_an_error_exactly_as_long_as_a_row_is_there_that_has_failed(
    first: list[Any], second: list[Any]
) -> None:
    (older, before), (newer, after) = picked(first), picked(second)
    merged = older.merge(newer)
    for group, rows in ((older, before), (newer, after), (merged, before + after)):
        wrong = [row for row in rows if row < 0]
        if not wrong:
            assert group.result() == rows
            continue
        with pytest.raises(RowError, match=f"picky: ValueError: {wrong[0]} is negative"):
            group.result()
    rows = before + after
    while rows:
        merged.remove(rows.pop(0))
        if not any(row < 0 for row in rows):
            assert merged.result() == rows
